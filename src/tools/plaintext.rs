//! A text of a JSON document that is wiped, without a copy in what the parser keeps for itself.

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// The text. It is read from a document in memory, which whoever holds it wipes.
pub struct Plaintext(pub Zeroizing<String>);

impl<'de> Deserialize<'de> for Plaintext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let quoted = <&RawValue>::deserialize(deserializer)?.get();
        unescaped(quoted).map(Self).ok_or_else(|| D::Error::custom("not a text"))
    }
}

/// What a JSON text stands for. The parser would take one that has an escape apart in a buffer that it does not wipe.
fn unescaped(quoted: &str) -> Option<Zeroizing<String>> {
    let mut rest = quoted.strip_prefix('"')?.strip_suffix('"')?;
    // Nothing is longer unescaped, so that it never grows, which would leave a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(rest.len()));
    while let Some((plain, escaped)) = rest.split_once('\\') {
        text.push_str(plain);
        let kind = escaped.chars().next()?;
        rest = escaped.get(kind.len_utf8()..)?;
        text.push(match kind {
            '"' | '\\' | '/' => kind,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (first, after) = unit(rest)?;
                rest = after;
                let second = (0xd800..0xdc00).contains(&first).then(|| unit(rest.strip_prefix("\\u")?)).flatten();
                let units = [first, second.map_or(0, |(second, _)| second)];
                rest = second.map_or(rest, |(_, after)| after);
                char::decode_utf16(units.into_iter().take(1 + usize::from(second.is_some()))).next()?.ok()?
            }
            _ => return None,
        });
    }
    text.push_str(rest);
    Some(text)
}

/// A number of four hexadecimal digits, and what follows.
fn unit(text: &str) -> Option<(u16, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    let number = digits.chars().all(|c| c.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?;
    Some((number?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(json: &str) -> Option<String> {
        serde_json::from_slice::<Plaintext>(json.as_bytes()).ok().map(|text| text.0.to_string())
    }

    #[test]
    fn escapes_are_read_as_the_parser_reads_them() {
        for json in [r#""""#, r#""a\"\\\/\b\f\n\r\tz""#, r#""\u00e9\ud83d\ude00 ü\u0000""#, r#""\uD83D\uDE00""#] {
            assert_eq!(read(json), serde_json::from_str(json).ok(), "{json}");
        }
        for bad in
            [r#""\ud83d""#, r#""\ud83dx""#, r#""\ude00""#, r#""\ud83d\u0041""#, r#""\u+123""#, r#""\x""#, "5", "null"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
        let maybe: Result<Option<Plaintext>, _> = serde_json::from_str("null");
        assert!(matches!(maybe, Ok(None)));
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in any::<String>()) {
            let json = serde_json::Value::from(text.as_str()).to_string();
            prop_assert_eq!(read(&json), Some(text));
        }
    }
}
