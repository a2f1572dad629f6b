//! Which functions run in every process, as a script for the linker.

use std::collections::{BTreeSet, HashMap};
use std::fs;

use crate::contestants::Contestant;
use crate::counts;
use crate::upstream::Upstream;

/// Calls to watch; more of them run nothing else.
const CALLS: usize = 100;

/// The script, `link/used.ld`. The contestant's binary must have its symbols.
pub(crate) fn script(contestant: &Contestant) -> String {
    let upstream = Upstream::start();
    let mut patterns = BTreeSet::new();
    for access_log in [false, true] {
        let files = tempfile::tempdir().unwrap();
        let output = format!("--callgrind-out-file={}/%p", files.path().display());
        let under = ["valgrind", "-q", "--tool=callgrind", "--demangle=no", &output];
        counts::run(contestant, &upstream, access_log, (1, CALLS), &under);
        for file in files.path().read_dir().unwrap().flatten() {
            patterns.extend(functions(&fs::read_to_string(file.path()).unwrap()));
        }
    }
    let lines: Vec<_> = patterns.iter().map(|name| format!("    *(.text*.{name})\n")).collect();
    let lines = lines.concat();
    format!("{HEADER}SECTIONS\n{{\n  .text.used :\n  {{\n{lines}  }}\n}}\nINSERT BEFORE .text;\n")
}

const HEADER: &str = "\
/* Functions that run in every process, from its start to its end. The linker puts them together, in
   front of the others.

   The kernel maps the 16 pages around each page of the file that is touched. What runs is less than
   half of the program, but no page of it was far from something that does, so nearly all of it was
   in memory.

   Written by `benches/peers/run order >link/used.ld`. A name that no function has any more does no
   harm, and neither does a function whose name is missing, but for its pages. */
";

/// The names of the program's own functions in callgrind's output. A name is given once, with a
/// number, and is a number from then on.
fn functions(output: &str) -> BTreeSet<String> {
    let mut names: HashMap<(&str, &str), &str> = HashMap::new();
    let mut functions = BTreeSet::new();
    let mut object = "";
    for line in output.lines() {
        let Some((key, value)) = line.split_once("=(") else { continue };
        let kind = key.trim_start_matches('c'); // of what is called
        let (number, name) = value.split_once(')').unwrap();
        if !name.is_empty() {
            names.insert((kind, number), name.trim());
        }
        let name = names.get(&(kind, number)).copied().unwrap_or_default();
        match key {
            "ob" => object = name,
            // Those without a name are called by their address.
            "fn" if object.ends_with("/innopaas-proxy") && !name.starts_with(['0', '(']) => {
                functions.insert(pattern(name));
            }
            _ => {}
        }
    }
    functions
}

/// The name without what another build or compiler changes: hashes, numbers of copies.
fn pattern(name: &str) -> String {
    let (name, _recursion) = name.split_once('\'').unwrap_or((name, ""));
    if name.starts_with("_ZN")
        && let Some(hash) = name.rfind("17h")
    {
        return format!("{}17h*", &name[..hash]);
    }
    if !name.starts_with("_R") {
        return name.to_owned();
    }
    // The newer kind of names: `Cs…_` stands before that of each crate.
    let (name, copy) = name.split_once('.').map_or((name, ""), |(name, _)| (name, "*"));
    let mut parts = name.split("Cs");
    let mut pattern = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.split_once('_').map_or(part, |(_hash, rest)| rest);
        pattern.push_str("Cs*_");
        pattern.push_str(rest);
    }
    pattern + copy
}
