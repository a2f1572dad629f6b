//! Finds the line of a setting by asking the YAML parser again, and stopping it there.
//!
//! A parsed value has lost its place; an error has not. So the second walk ends in an error of
//! ours at the wanted node, and the parser attaches the line.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// The line (from 1) on which the value at this path begins, if the parser tells.
pub(super) fn line(text: &str, path: &[&str]) -> Option<usize> {
    let deserializer = serde_yaml::Deserializer::from_str(text);
    let error = Walk { path }.deserialize(deserializer).err()?;
    error.location().map(|location| location.line())
}

struct Walk<'p> {
    path: &'p [&'p str],
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.path.is_empty() {
            deserializer.deserialize_any(Here)
        } else {
            deserializer.deserialize_map(self)
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((wanted, below)) = self.path.split_first() else {
            return Ok(());
        };
        while let Some(key) = map.next_key::<serde_yaml::Value>()? {
            if key.as_str() == Some(wanted) {
                map.next_value_seed(Walk { path: below })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Meets whatever stands at the wanted node with an error, for the sake of its line.
struct Here;

impl<'de> Visitor<'de> for Here {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this place")
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom("here"))
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn the_parser_tells_the_line_of_a_nested_value() {
        let text = "listen:\n  address: a\n\nupstream: {origin: x,\n  pool: {idle: 1s}}\nlog:\n";
        assert_eq!(line(text, &["listen", "address"]), Some(2));
        assert_eq!(line(text, &["upstream", "pool", "idle"]), Some(5));
        assert_eq!(line(text, &["nowhere"]), None);
    }
}
