//! Texts and bodies with `{…}` in them: each pair of braces holds an expression on the event.
//!
//! The expressions are minijinja's (Jinja's: `body.tags | join(',')`), compiled and checked for unknown names
//! when the configuration is read. A text that is one pair of braces and nothing else becomes the value itself,
//! with its type; elsewhere the value becomes text. Nothing is evaluated twice: what an event brings is data,
//! whatever braces it has. Pure.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use minijinja::{Environment, ErrorKind, Expression as Compiled, UndefinedBehavior, Value};
use serde_json::{Map, Value as Json};

use crate::escape;

/// Where a name that is not there is an error: in what is sent.
static STRICT: LazyLock<Environment<'static>> =
    LazyLock::new(|| environment(UndefinedBehavior::Strict));
/// Where it is nothing: in conditions.
static LENIENT: LazyLock<Environment<'static>> =
    LazyLock::new(|| environment(UndefinedBehavior::Chainable));

/// Steps of one evaluation: an expression of configuration works on an event, whatever that holds.
const FUEL: u64 = 100_000;

fn environment(undefined: UndefinedBehavior) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(undefined);
    environment.set_fuel(Some(FUEL));
    environment
}

/// What is wrong with a template or an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A brace without its other half.
    #[error(
        "has a {{ without }}, or a }} without {{; write {{{{ and }}}} for the signs themselves"
    )]
    Braces,
    /// It is not an expression.
    #[error("{{{source_text}}} is no expression: {said}")]
    Syntax {
        /// What is in the braces.
        source_text: String,
        /// What the compiler says.
        said: String,
    },
    /// It uses a name that does not exist.
    #[error("{{{source_text}}} uses {name}, which is not there")]
    UnknownName {
        /// What is in the braces.
        source_text: String,
        /// The name.
        name: String,
    },
    /// It could not be evaluated for this event.
    #[error("{{{source_text}}} cannot be evaluated for this event: {said}")]
    Evaluation {
        /// What is in the braces.
        source_text: String,
        /// Why.
        said: String,
    },
    /// The value has no place in an address.
    #[error("{{{source_text}}} is empty, and stands in an address")]
    Empty {
        /// What is in the braces.
        source_text: String,
    },
}

/// An expression, compiled.
pub struct Expression {
    text: String,
    compiled: Compiled<'static, 'static>,
}

impl Expression {
    /// Compiles an expression that may use these names.
    ///
    /// # Errors
    /// [`Error::Syntax`] or [`Error::UnknownName`].
    pub fn compile(text: &str, names: &BTreeSet<&str>) -> Result<Self, Error> {
        Self::compile_in(&STRICT, text, names)
    }

    /// The same as a condition, where what is not there is nothing.
    ///
    /// # Errors
    /// [`Error::Syntax`] or [`Error::UnknownName`].
    pub fn condition(text: &str, names: &BTreeSet<&str>) -> Result<Self, Error> {
        Self::compile_in(&LENIENT, text, names)
    }

    fn compile_in(
        environment: &'static Environment<'static>,
        text: &str,
        names: &BTreeSet<&str>,
    ) -> Result<Self, Error> {
        let text = text.trim().to_owned();
        let compiled = environment
            .compile_expression_owned(text.clone())
            .map_err(|error| Error::Syntax {
                source_text: text.clone(),
                said: said(&error),
            })?;
        let mut used: Vec<String> = compiled.undeclared_variables(false).into_iter().collect();
        used.sort_unstable();
        let is_function = |name: &str| environment.globals().any(|(known, _)| known == name);
        if let Some(name) = used
            .into_iter()
            .find(|name| !names.contains(name.as_str()) && !is_function(name))
        {
            return Err(Error::UnknownName {
                source_text: text,
                name,
            });
        }
        // Filters and tests are looked up when they are used: an event of nothing uses most of them.
        let trial = LENIENT
            .compile_expression(&text)
            .and_then(|trial| trial.eval(()));
        if let Err(error) = trial
            && is_unknown(error.kind())
        {
            return Err(Error::Syntax {
                source_text: text,
                said: said(&error),
            });
        }
        Ok(Self { text, compiled })
    }

    /// Its value for an event.
    ///
    /// # Errors
    /// [`Error::Evaluation`].
    pub fn value(&self, context: &Value) -> Result<Value, Error> {
        let failed = |error: minijinja::Error| Error::Evaluation {
            source_text: self.text.clone(),
            said: said(&error),
        };
        let value = self.compiled.eval(context).map_err(failed)?;
        if value.is_undefined() {
            return Err(Error::Evaluation {
                source_text: self.text.clone(),
                said: "it is not there".to_owned(),
            });
        }
        Ok(value)
    }

    /// Whether a condition holds for an event; one that cannot be evaluated does not.
    pub fn holds(&self, context: &Value) -> bool {
        self.compiled
            .eval(context)
            .is_ok_and(|value| value.is_true())
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.text.fmt(f)
    }
}

fn is_unknown(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction
    )
}

/// The line of an error, without the template's name and place that nobody gave it.
fn said(error: &minijinja::Error) -> String {
    error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned)
}

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
                source_text: expression.text.clone(),
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
                            source_text: expression.text.clone(),
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
