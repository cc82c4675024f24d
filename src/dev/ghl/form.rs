//! Form encoding, of queries and of token requests.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The fields of `a=1&b=2`; the first of a name counts. What is not UTF-8 is replaced, as browsers do.
pub(super) fn decode(text: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        fields
            .entry(unescape(name))
            .or_insert_with(|| unescape(value));
    }
    fields
}

/// `text` as a value in a query.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// A path segment or a form value without its escapes. `+` is a space, as in forms.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digit = |at: usize| {
            let digit = after.get(at).copied().map(char::from)?.to_digit(16)?;
            u8::try_from(digit).ok()
        };
        rest = after;
        match (*first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high * 16 + low);
                rest = &after[2..];
            }
            (b'+', ..) => bytes.push(b' '),
            (byte, ..) => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_to_the_same() {
        for value in ["", "a b+c", "ä=&%", "https://x.example/a?b=c&d", "%zz", "%"] {
            let fields = decode(&format!("x=1&value={}&value=again", encode(value)));
            assert_eq!(fields["value"], value);
        }
        assert_eq!(decode("a=x+y%20z&flag")["a"], "x y z");
        assert_eq!(decode("a=x+y%20z&flag")["flag"], "");
        assert_eq!(decode("a=%zz&b=%2")["a"], "%zz");
        assert_eq!(decode("a=%zz&b=%2")["b"], "%2");
    }
}
