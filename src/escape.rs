//! Text as a value in the path or the query of a URL (RFC 3986, 2.3). Pure; the one home of `percent_encoding`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but the unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// The same without the slash, for a path inside a query.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// A value: it ends neither a segment nor an argument.
pub fn value(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// A path as a value of a query: its slashes stay readable.
pub fn path(text: &str) -> String {
    utf8_percent_encode(text, RESERVED_IN_PATH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_unreserved_stays() {
        let plain = "AZaz09-_.~";
        assert_eq!(value(plain), plain);
        assert_eq!(value("a/b c+%é&=?#"), "a%2Fb%20c%2B%25%C3%A9%26%3D%3F%23");
        assert_eq!(path("/events?type=a/b"), "/events%3Ftype%3Da/b");
    }
}
