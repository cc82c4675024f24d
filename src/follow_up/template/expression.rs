//! An expression on the event, compiled: what may stand in a pair of braces, or decide in `when`.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use minijinja::{Environment, ErrorKind, Expression as Compiled, UndefinedBehavior, Value};

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

    /// As it stands in the configuration.
    pub(super) fn text(&self) -> &str {
        &self.text
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
