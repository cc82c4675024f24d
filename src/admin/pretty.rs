//! JSON laid out for people, token by token: numbers, escapes, the order of keys and even what is wrong stay as
//! they came. Pure.

/// The text with line breaks and indents of its own, or none where it is not JSON at all.
pub(super) fn pretty(text: &str) -> Option<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut rest = text.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth.min(MOST_INDENT)));
    };
    while let Some(c) = rest.next() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            ' ' | '\t' | '\n' | '\r' => (),
            '"' => {
                in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while rest.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                match rest.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            other => out.push(other),
        }
    }
    Some(out)
}

/// Deeper than this everything has the same indent: a body of brackets alone would else be blown up.
const MOST_INDENT: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_changes() {
        let rows = [
            ("{}", "{}"),
            (" [ ] ", "[]"),
            (r#"{"a":1,"a":2}"#, "{\n  \"a\": 1,\n  \"a\": 2\n}"),
            (
                r#"[1e400,-0.0,{"x":[]}]"#,
                "[\n  1e400,\n  -0.0,\n  {\n    \"x\": []\n  }\n]",
            ),
            (
                r#"{"quote\"{":"a , b : c"}"#,
                "{\n  \"quote\\\"{\": \"a , b : c\"\n}",
            ),
            (r#"["\\",2]"#, "[\n  \"\\\\\",\n  2\n]"),
        ];
        for (text, expected) in rows {
            assert_eq!(pretty(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "{", "no", "{} {}"] {
            assert_eq!(pretty(text), None, "{text}");
        }
    }
}
