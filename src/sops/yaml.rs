//! How a key is written in YAML, as the library of sops writes it, so that sops's next rewrite of the file changes
//! nothing but what it means to change.

/// Beyond this many bytes a key stands behind a `?`: readers need not look further ahead for its colon.
pub(super) const SIMPLE_KEY: usize = 128;

/// Appends `key` to `out`: plain where that reads back as the same text, quoted where not.
pub(super) fn write_key(key: &str, out: &mut String) {
    let seen = Seen::of(key);
    if reads_as_another_type(key) || seen.special || seen.breaks {
        double_quoted(key, out);
    } else if seen.indicator || key.is_empty() || key.starts_with(' ') || key.ends_with(' ') {
        out.push('\'');
        out.push_str(&key.replace('\'', "''"));
        out.push('\'');
    } else {
        out.push_str(key);
    }
}

/// What of a text matters for how it can be written.
struct Seen {
    /// Something that means something else to YAML where it stands.
    indicator: bool,
    /// A character that only double quotes can hold.
    special: bool,
    /// A line break.
    breaks: bool,
}

impl Seen {
    fn of(text: &str) -> Self {
        let mut seen =
            Self { indicator: text.starts_with("---") || text.starts_with("..."), special: false, breaks: false };
        let mut after_blank = true;
        let mut characters = text.chars().peekable();
        let mut first = true;
        while let Some(c) = characters.next() {
            let before_blank = characters.peek().is_none_or(|next| is_blank(*next));
            seen.indicator |= match c {
                '#' => first || after_blank,
                ':' => before_blank,
                '-' | '?' => first && before_blank,
                ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => first,
                _ => false,
            };
            seen.breaks |= is_break(c);
            seen.special |= c == '\t' || !(is_printable(c) || is_break(c));
            after_blank = is_blank(c);
            first = false;
        }
        seen
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t' || is_break(c)
}

/// What the library takes for printable: nothing beyond the basic plane, emoji among it.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}

fn double_quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        let short = match c {
            '\0' => '0',
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'e',
            '"' => '"',
            '\\' => '\\',
            '\u{85}' => 'N',
            '\u{2028}' => 'L',
            '\u{2029}' => 'P',
            _ if is_printable(c) => {
                out.push(c);
                continue;
            }
            _ => {
                out.push_str(&match u32::from(c) {
                    code @ ..=0xff => format!("\\x{code:02X}"),
                    code @ ..=0xffff => format!("\\u{code:04X}"),
                    code => format!("\\U{code:08X}"),
                });
                continue;
            }
        };
        out.extend(['\\', short]);
    }
    out.push('"');
}

/// Whether `text` would be read as something else than a string when it stands there without quotes.
pub(super) fn reads_as_another_type(text: &str) -> bool {
    type_of(text) != Type::Str || is_old_bool(text) || is_base_60(text)
}

/// What a plain scalar is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Str,
    Null,
    Bool,
    Int,
    Float,
    Time,
    Merge,
}

/// The type of a plain scalar, as the library of sops sees it.
pub(super) fn type_of(text: &str) -> Type {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Type::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return Type::Bool,
        "<<" => return Type::Merge,
        ".nan" | ".NaN" | ".NAN" => return Type::Float,
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Type::Float;
    }
    // Only these beginnings make the library look for a number at all.
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Type::Str;
    }
    if is_time(text) {
        return Type::Time;
    }
    // Behind a leading point, an underscore stands between two digits or the whole is text.
    if text.starts_with('.') && !is_between_digits(text, '_') {
        return Type::Str;
    }
    let digits = text.replace('_', "");
    if is_int(&digits) {
        Type::Int
    } else if is_float(&digits) {
        Type::Float
    } else {
        Type::Str
    }
}

/// Whether every `separator` in `text` has a digit before and behind it.
fn is_between_digits(text: &str, separator: char) -> bool {
    let ends = |part: &str| part.ends_with(|c: char| c.is_ascii_digit());
    let begins = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    text.match_indices(separator).all(|(at, found)| ends(&text[..at]) && begins(&text[at + found.len()..]))
}

/// What is too large for 64 bits is no integer to the library.
fn is_int(digits: &str) -> bool {
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    let lower = unsigned.to_ascii_lowercase();
    let prefixes = [("0x", 16), ("0o", 8), ("0b", 2)];
    let prefixed = prefixes.iter().find_map(|(prefix, radix)| Some((lower.strip_prefix(prefix)?, *radix)));
    let (number, radix) = prefixed.unwrap_or((&lower, if lower.starts_with('0') { 8 } else { 10 }));
    if !number.chars().all(|c| c.is_digit(radix)) {
        return false;
    }
    match digits.as_bytes().first() {
        Some(b'-') => i64::from_str_radix(&format!("-{number}"), radix).is_ok(),
        Some(b'+') => i64::from_str_radix(number, radix).is_ok(),
        _ => u64::from_str_radix(number, radix).is_ok(),
    }
}

/// What is too large for a float is none to the library.
fn is_float(digits: &str) -> bool {
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    let (number, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    all_digits(whole)
        && all_digits(part)
        && !(whole.is_empty() && part.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && all_digits(exponent))
        && digits.parse::<f64>().is_ok_and(f64::is_finite)
}

/// Year, month and day, and whatever follows them as a time.
fn is_time(text: &str) -> bool {
    let Some((year, rest)) = text.split_once('-') else { return false };
    let Some((month, rest)) = rest.split_once('-') else { return false };
    let day = rest.split(['T', 't', ' ']).next().unwrap_or(rest);
    let number = |text: &str, length: usize, most: u8| {
        text.len() <= length
            && text.bytes().all(|b| b.is_ascii_digit())
            && matches!(text.parse::<u8>(), Ok(n) if n >= 1 && n <= most)
    };
    let dated =
        year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit()) && number(month, 2, 12) && number(day, 2, 31);
    dated && (rest.len() == day.len() || rest[day.len() + 1..].contains(':'))
}

/// Booleans of YAML 1.1, which the library reads as text and quotes for the sake of other readers.
fn is_old_bool(text: &str) -> bool {
    matches!(
        text,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF"
    )
}

/// Numbers of YAML 1.1 such as `1:20`, likewise.
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let leading = parts.next().is_some_and(|part| {
        part.starts_with(|c: char| c.is_ascii_digit()) && part.bytes().all(|b| b.is_ascii_digit() || b == b'_')
    });
    let rest: Vec<&str> = parts.collect();
    let Some((last, middle)) = rest.split_last() else { return false };
    let sixty = |part: &str| match part.as_bytes() {
        [digit] => digit.is_ascii_digit(),
        [tens, digit] => (b'0'..=b'5').contains(tens) && digit.is_ascii_digit(),
        _ => false,
    };
    let (last, fraction) = last.split_once('.').unwrap_or((last, ""));
    leading
        && middle.iter().all(|part| sixty(part))
        && sixty(last)
        && fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(key: &str) -> String {
        let mut out = String::new();
        write_key(key, &mut out);
        out
    }

    #[test]
    fn keys_stand_as_the_library_of_sops_writes_them() {
        for (key, expected) in [
            ("auth-key", "auth-key"),
            ("123", "\"123\""),
            ("0x1F", "\"0x1F\""),
            ("0x1G", "0x1G"),
            ("1_000", "\"1_000\""),
            ("1e3", "\"1e3\""),
            ("+.inf", "\"+.inf\""),
            (".5", "\".5\""),
            ("._5", "._5"),
            (".0_9", "\".0_9\""),
            (".0__9", ".0__9"),
            ("-._5", "\"-._5\""),
            ("1e999", "1e999"),
            ("0x1_FFFF_FFFF_FFFF_FFFF", "0x1_FFFF_FFFF_FFFF_FFFF"),
            ("18446744073709551616", "\"18446744073709551616\""),
            ("089", "\"089\""),
            ("1.2.3", "1.2.3"),
            ("n", "\"n\""),
            ("~", "\"~\""),
            ("null", "\"null\""),
            ("<<", "\"<<\""),
            ("2026-01-01", "\"2026-01-01\""),
            ("2006-13-45", "2006-13-45"),
            ("1:20", "\"1:20\""),
            ("a,b", "a,b"),
            ("[x", "'[x'"),
            ("- x", "'- x'"),
            ("-x", "-x"),
            ("a b: c", "'a b: c'"),
            ("it's #x", "'it''s #x'"),
            (" lead", "' lead'"),
            ("---x", "'---x'"),
            ("é", "é"),
            ("tab\tx", "\"tab\\tx\""),
            ("\u{1f600}", "\"\\U0001F600\""),
            ("\u{feff}x", "\"\\uFEFFx\""),
        ] {
            assert_eq!(written(key), expected, "{key:?}");
        }
    }
}
