//! Texts and bodies with `{…}` in them: each pair of braces holds an expression on the event.
//!
//! The expressions are minijinja's (Jinja's: `body.tags | join(',')`), compiled and checked for unknown names
//! when the configuration is read. A text that is one pair of braces and nothing else becomes the value itself,
//! with its type; elsewhere the value becomes text. Nothing is evaluated twice: what an event brings is data,
//! whatever braces it has. Pure.

use std::collections::BTreeSet;

use minijinja::Value;
use serde_json::{Map, Value as Json};

use crate::escape;

mod expression;

pub use expression::{Error, Expression};

#[derive(Debug)]
enum Part {
    Text(String),
    Value(Expression),
}

/// A text with expressions in braces.
#[derive(Debug)]
pub struct Template {
    parts: Vec<Part>,
}

impl Template {
    /// Compiles a text whose expressions may use these names.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn compile(text: &str, names: &BTreeSet<&str>) -> Result<Self, Error> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err(Error::Braces);
            }
            let end = end_of_expression(rest).ok_or(Error::Braces)?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Value(Expression::compile(&rest[..end], names)?));
            rest = &rest[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The text as it begins before the first expression.
    pub fn head(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// The value: of a lone expression as it is, else the text.
    ///
    /// # Errors
    /// [`Error::Evaluation`].
    pub fn value(&self, context: &Value) -> Result<Json, Error> {
        if let [Part::Value(expression)] = &self.parts[..] {
            let value = expression.value(context)?;
            return serde_json::to_value(&value).map_err(|error| Error::Evaluation {
                source_text: expression.text().to_owned(),
                said: error.to_string(),
            });
        }
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Value(expression) => text.push_str(&expression.value(context)?.to_string()),
            }
        }
        Ok(Json::String(text))
    }

    /// The text for an address: every value with all but letters, digits and `-_.~` escaped, and none of
    /// them empty or a dot segment, so that what an event brings is one segment or one argument.
    ///
    /// # Errors
    /// [`Error::Evaluation`] or [`Error::Empty`].
    pub fn address(&self, context: &Value) -> Result<String, Error> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Value(expression) => {
                    let value = expression.value(context)?;
                    let value = match value.is_none() {
                        true => String::new(),
                        false => value.to_string(),
                    };
                    if value.is_empty() || value == "." || value == ".." {
                        return Err(Error::Empty {
                            source_text: expression.text().to_owned(),
                        });
                    }
                    text.push_str(&escape::value(&value));
                }
            }
        }
        Ok(text)
    }
}

/// Where the brace stands that ends an expression: one inside quotes or a nested pair does not.
fn end_of_expression(text: &str) -> Option<usize> {
    let (mut quote, mut depth, mut escaped) = (None, 0_u32, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => (),
            (None, '\'' | '"') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(at),
            (None, '}') => depth -= 1,
            (None, _) => (),
        }
    }
    None
}

/// A body: JSON whose texts are templates.
#[derive(Debug)]
pub enum BodyTemplate {
    /// A text.
    Text(Template),
    /// A list.
    List(Vec<Self>),
    /// An object.
    Object(Vec<(String, Self)>),
    /// Anything else, as it is.
    Plain(Json),
}

impl BodyTemplate {
    /// Compiles a value.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn compile(value: &Json, names: &BTreeSet<&str>) -> Result<Self, Error> {
        Ok(match value {
            Json::String(text) => Self::Text(Template::compile(text, names)?),
            Json::Array(items) => {
                let items: Result<_, _> = items
                    .iter()
                    .map(|item| Self::compile(item, names))
                    .collect();
                Self::List(items?)
            }
            Json::Object(fields) => {
                let fields: Result<_, _> = fields
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), Self::compile(value, names)?)))
                    .collect();
                Self::Object(fields?)
            }
            other => Self::Plain(other.clone()),
        })
    }

    /// The body for an event.
    ///
    /// # Errors
    /// [`Error::Evaluation`].
    pub fn value(&self, context: &Value) -> Result<Json, Error> {
        Ok(match self {
            Self::Text(template) => template.value(context)?,
            Self::List(items) => {
                let items: Result<_, _> = items.iter().map(|item| item.value(context)).collect();
                Json::Array(items?)
            }
            Self::Object(fields) => {
                let mut object = Map::new();
                for (name, value) in fields {
                    object.insert(name.clone(), value.value(context)?);
                }
                Json::Object(object)
            }
            Self::Plain(value) => value.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn names() -> BTreeSet<&'static str> {
        BTreeSet::from(["body", "entity_id"])
    }

    fn context() -> Value {
        Value::from(minijinja::value::Serde(json!({
            "entity_id": "a/b c",
            "body": {"status": "won", "value": 1200.5, "tags": ["x", "{entity_id}"], "none": null, "empty": "", "up": ".."},
        })))
    }

    fn value(text: &str) -> Result<Json, Error> {
        Template::compile(text, &names()).and_then(|template| template.value(&context()))
    }

    #[test]
    fn a_lone_expression_keeps_its_type_and_others_become_text() {
        for (text, expected) in [
            ("{body.tags}", json!(["x", "{entity_id}"])),
            ("{ body.value }", json!(1200.5)),
            ("{body.none}", json!(null)),
            ("is {body.status}!", json!("is won!")),
            ("{body.status}{body.status}", json!("wonwon")),
            (
                "{{not}} {body.tags | join('}')}",
                json!("{not} x}{entity_id}"),
            ),
            ("{body.status | upper}", json!("WON")),
            ("{ {'a': 1}.a }", json!(1)),
            ("", json!("")),
        ] {
            assert_eq!(value(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_when_it_is_compiled() {
        let compile = |text| Template::compile(text, &names()).unwrap_err();
        assert_eq!(compile("{body"), Error::Braces);
        assert_eq!(compile("body}"), Error::Braces);
        assert!(matches!(compile("{body.}"), Error::Syntax { .. }));
        assert!(matches!(compile("{}"), Error::Syntax { .. }));
        let Error::UnknownName { name, .. } = compile("x {entity.id}") else {
            panic!("an unknown name");
        };
        assert_eq!(name, "entity");
        assert!(matches!(
            compile("{body.x | nofilter}"),
            Error::Syntax { .. }
        ));
    }

    #[test]
    fn an_event_that_lacks_a_field_is_an_error_in_a_value_and_nothing_in_a_condition() {
        assert!(matches!(
            value("{body.missing}"),
            Err(Error::Evaluation { .. })
        ));
        assert!(matches!(
            value("x{body.missing.deep}"),
            Err(Error::Evaluation { .. })
        ));
        for (condition, holds) in [
            ("body.status == 'won' and body.value > 1000", true),
            ("body.missing", false),
            ("body.missing.deep == 'x'", false),
            ("body.missing > 5", false),
            ("'x' in body.tags", true),
            ("body.tags | length == 2", true),
        ] {
            let expression = Expression::condition(condition, &names()).unwrap();
            assert_eq!(expression.holds(&context()), holds, "{condition}");
        }
    }

    #[test]
    fn in_an_address_a_value_is_one_segment() {
        let address = |text| {
            let template = Template::compile(text, &names());
            template.unwrap().address(&context())
        };
        assert_eq!(
            address("/contacts/{entity_id}").unwrap(),
            "/contacts/a%2Fb%20c"
        );
        assert_eq!(address("/x?q={body.status}&n=1").unwrap(), "/x?q=won&n=1");
        for text in ["/x/{body.empty}", "/x/{body.none}", "/x/{body.up}/y"] {
            assert!(matches!(address(text), Err(Error::Empty { .. })), "{text}");
        }
    }

    #[test]
    fn a_body_keeps_its_form() {
        let body = json!({"tags": ["{body.status}", 1, true], "deep": {"value": "{body.value}"}});
        let template = BodyTemplate::compile(&body, &names()).unwrap();
        let expected = json!({"tags": ["won", 1, true], "deep": {"value": 1200.5}});
        assert_eq!(template.value(&context()).unwrap(), expected);
    }

    #[test]
    fn an_endless_expression_ends() {
        let text = "range(9999999) | list | length";
        let expression = Expression::condition(text, &names()).unwrap();
        assert!(!expression.holds(&context()));
    }
}
