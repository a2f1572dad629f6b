//! The figures as tables.

use crate::compare::{DIRECT, Figures, Plan};
use crate::contestants::Contestant;

/// Every figure that can be in the table, with its unit.
const ROWS: &[(&str, &str)] = &[
    ("CPU, 64 connections", "µs"),
    ("CPU, 64 connections, log on", "µs"),
    ("CPU, 8 connections", "µs"),
    ("CPU, 1 connection", "µs"),
    ("CPU, paced", "µs"),
    ("CPU, paced, log on", "µs"),
    ("CPU, new connections", "µs"),
    ("CPU, two workers", "µs"),
    ("requests per second", ""),
    ("1 connection: p50", "µs"),
    ("1 connection: p99", "µs"),
    ("1 connection: p999", "µs"),
    ("8 connections: p50", "µs"),
    ("8 connections: p99", "µs"),
    ("8 connections: p999", "µs"),
    ("64 connections: p50", "µs"),
    ("64 connections: p99", "µs"),
    ("64 connections: p999", "µs"),
    ("paced: p50", "µs"),
    ("paced: p99", "µs"),
    ("paced: p999", "µs"),
    ("CPU, 10 MB up", "ms/MiB"),
    ("CPU, 10 MB down", "ms/MiB"),
    ("peak, 10 MB up", "KiB"),
    ("peak, 10 MB down", "KiB"),
    ("PSS idle", "KiB"),
    ("PSS after load", "KiB"),
    ("PSS, 1,000 unused connections", "KiB"),
    ("PSS after 1,000 at once", "KiB"),
    ("PSS later", "KiB"),
    ("start", "ms"),
    ("idle CPU", "ms/s"),
];

/// A table in Markdown: the median, the least and the most of each.
pub(crate) fn table(figures: &Figures, contestants: &[Contestant], plan: &Plan) -> String {
    let mut names: Vec<String> = contestants.iter().map(ToString::to_string).collect();
    names.push(DIRECT.to_owned());
    let mut text = String::new();
    for contestant in contestants {
        text += &format!("- {contestant}: {}\n", contestant.version());
    }
    text += &format!("\nMedians of {} rounds (least–most).\n\n", plan.rounds);
    text += &format!("| figure | {} | to the better of nginx and HAProxy |\n", names.join(" | "));
    text += &format!("| --- |{} --- |\n", " --: |".repeat(names.len()));
    for (figure, unit) in ROWS {
        if names.iter().all(|name| figures.of(figure, name).is_none()) {
            continue;
        }
        let cell = |name: &String| match figures.of(figure, name) {
            Some(values) => {
                let (least, median, most) = spread(values);
                format!("{} ({}–{})", shown(median), shown(least), shown(most))
            }
            None => String::new(),
        };
        let cells: Vec<String> = names.iter().map(cell).collect();
        let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
        let ratio = ratio(figures, figure, &names[0]).map_or(String::new(), |r| format!("{r:.2}"));
        text += &format!("| {figure}{unit} | {} | {ratio} |\n", cells.join(" | "));
    }
    text
}

/// Of the first contestant to the better one of two peers: the median of the rounds' own ratios,
/// because what disturbs a round disturbs all of it.
fn ratio(figures: &Figures, figure: &str, name: &str) -> Option<f64> {
    let (own, nginx) = (figures.of(figure, name)?, figures.of(figure, "nginx")?);
    let haproxy = figures.of(figure, "HAProxy")?;
    let better = |a: f64, b: f64| if figure == "requests per second" { a.max(b) } else { a.min(b) };
    let peers = nginx.iter().zip(haproxy).map(|(nginx, haproxy)| better(*nginx, *haproxy));
    let ratios: Vec<f64> = own.iter().zip(peers).map(|(own, peer)| own / peer).collect();
    Some(spread(&ratios).1)
}

fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1])
}

fn shown(value: f64) -> String {
    match value {
        value if value >= 1_000.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// What is drawn, each a group of bars.
const DRAWN: [&str; 6] = [
    "CPU, 64 connections",
    "CPU, 64 connections, log on",
    "CPU, paced",
    "CPU, new connections",
    "PSS after load",
    "PSS after 1,000 at once",
];

/// Some of the figures as bars, to the first contestant's.
pub(crate) fn picture(figures: &Figures, contestants: &[Contestant]) -> String {
    const COLOURS: [&str; 5] = ["#1f6f8b", "#b7b7b7", "#8f8f8f", "#5f5f5f", "#d0d0d0"];
    const LEFT: usize = 210;
    const BAR: usize = 14;
    /// A bar as long as the first contestant's.
    const ONE: f64 = 110.0;
    let names: Vec<String> = contestants.iter().map(ToString::to_string).collect();
    let mut body = String::new();
    let mut top = 40;
    for figure in DRAWN {
        let median = |name: &str| figures.of(figure, name).map(|values| spread(values).1);
        let Some(own) = median(&names[0]) else { continue };
        body += &format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{figure}</text>\n",
            LEFT - 10,
            top + BAR
        );
        for (name, colour) in names.iter().zip(COLOURS) {
            let Some(value) = median(name) else { continue };
            let (ratio, unit) = (value / own, unit(figure));
            let (width, end) = (ratio * ONE, LEFT as f64 + ratio * ONE + 6.0);
            let (value, y) = (shown(value), top + BAR - 3);
            body += &format!(
                "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{width:.0}\" height=\"{}\" fill=\"{colour}\"/>\n\
                 <text x=\"{end:.0}\" y=\"{y}\">{name} {value} {unit} ({ratio:.2})</text>\n",
                BAR - 2
            );
            top += BAR;
        }
        top += BAR;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"900\" height=\"{top}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"13\">Shorter is better; medians, and in brackets the \
         ratio to {}</text>\n{body}</svg>\n",
        names[0]
    )
}

fn unit(figure: &str) -> &'static str {
    ROWS.iter().find(|(name, _)| *name == figure).map_or("", |(_, unit)| unit)
}
