//! Reads the tokens of which a call must show one: one a line, several for the time in which an
//! old and a new one overlap.

use super::file;
use super::named::{Named, Unusable};
use crate::secret::{MAX_LEN, Malformed, Secret};

/// More would be a list of callers, which this file is not: who showed which is told nowhere.
const MOST: usize = 8;

/// In bytes. A shorter one could be guessed over a network.
const SHORTEST: usize = 16;

pub(super) fn read(named: &Named) -> Result<Vec<Secret>, Unusable> {
    /// More than the most and longest tokens with their line ends.
    const ENOUGH: usize = (MOST + 1) * (MAX_LEN + 2);
    let content = file::read(&named.1, ENOUGH).map_err(|fault| Unusable::fault(named, fault))?;
    parse(&content).map_err(|why| Unusable::new(named, why))
}

/// What is wrong is told by line, never by content.
fn parse(content: &[u8]) -> Result<Vec<Secret>, String> {
    let content = content.trim_ascii_end();
    let tokens = content
        .split_inclusive(|byte| *byte == b'\n')
        .enumerate()
        .map(|(index, line)| {
            let why = match Secret::from_file_content(line) {
                Ok(token) if token.len() >= SHORTEST => return Ok(token),
                Ok(_) => format!("it is shorter than {SHORTEST} bytes and could be guessed"),
                Err(why) => explain(why),
            };
            Err(format!("line {}: {why}; {FORM}", index + 1))
        })
        .collect::<Result<Vec<_>, _>>()?;
    match tokens.len() {
        0 => Err(format!("it is empty; {FORM}")),
        1..=MOST => Ok(tokens),
        _ => Err(format!("has more than {MOST} tokens; {FORM}")),
    }
}

const FORM: &str = "write one token a line, in plain ASCII without spaces";

fn explain(why: Malformed) -> String {
    match why {
        Malformed::Scheme => "it begins with an authentication scheme such as `Bearer`".to_owned(),
        Malformed::Empty | Malformed::TooLong | Malformed::Byte { .. } | Malformed::Quoted => {
            why.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_a_line_whatever_ends_it() {
        for (content, count) in [
            ("*", 1),
            ("*\n", 1),
            ("*\r\n*\r\n", 2),
            ("*\n*\n\n", 2),
            ("*\n*\n*\n*\n*\n*\n*\n*", 8),
        ] {
            let content = content.replace('*', "a-token-of-enough-bytes");
            assert_eq!(parse(content.as_bytes()).unwrap().len(), count, "{content:?}");
        }
    }

    #[test]
    fn a_malformed_line_is_named_by_its_number_alone() {
        for (content, words) in [
            ("", "it is empty"),
            ("\n\n", "it is empty"),
            ("hunter2hunter2hunter2\n\nhunter3", "line 2: it is empty"),
            ("hunter2hunter2hunter2\nhun ter3", "line 2: the byte at position 3"),
            ("hunter2", "line 1: it is shorter than 16 bytes"),
            ("Bearer hunter2", "line 1: it begins with an authentication scheme"),
            ("\"hunter2\"", "line 1: it is wrapped in quotes"),
            ("hunter2hunter2hunter2\n".repeat(9).as_str(), "more than 8 tokens"),
        ] {
            let problem = parse(content.as_bytes()).unwrap_err();
            assert!(problem.contains(words) && !problem.contains("hunter"), "{problem}");
        }
    }
}
