//! MLflow's filter grammar: `clause AND clause …`, a clause being `identifier comparator value`.

use crate::StoreError;

/// Comparator of a clause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparator {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    Like,
    Ilike,
    In,
    NotIn,
    IsNull,
    IsNotNull,
}

impl Comparator {
    /// Comparator as it is written in filters and SQL alike, `Ilike` apart.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Like => "LIKE",
            Self::Ilike => "ILIKE",
            Self::In => "IN",
            Self::NotIn => "NOT IN",
            Self::IsNull => "IS NULL",
            Self::IsNotNull => "IS NOT NULL",
        }
    }
}

/// The right side of a clause.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    /// Number as it was written, and its value.
    Number(String, f64),
    Text(String),
    List(Vec<String>),
    /// No right side, as with `IS NULL`.
    None,
}

impl Literal {
    fn shown(&self) -> String {
        match self {
            Self::Number(text, _) => text.clone(),
            Self::Text(text) => format!("'{text}'"),
            Self::List(items) => format!("('{}')", items.join("', '")),
            Self::None => String::new(),
        }
    }
}

/// One clause of a filter, `entity.key comparator value`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Clause {
    /// Text before the first dot, where there is one outside quotes.
    pub(crate) entity: Option<String>,
    pub(crate) key: String,
    pub(crate) comparator: Comparator,
    pub(crate) value: Literal,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    /// Text and the quote around it.
    Quoted(String, char),
    Comparator(&'static str),
    Open,
    Close,
    Comma,
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Self::Word(text) => text.clone(),
            Self::Quoted(text, quote) => format!("{quote}{text}{quote}"),
            Self::Comparator(text) => (*text).to_owned(),
            Self::Open => "(".to_owned(),
            Self::Close => ")".to_owned(),
            Self::Comma => ",".to_owned(),
        }
    }

    fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// Parses a filter; an empty one has no clauses.
///
/// # Errors
/// With the words that do not belong.
pub(crate) fn parse(filter: &str) -> Result<Vec<Clause>, StoreError> {
    let tokens = tokens(filter)?;
    let mut clauses = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !clauses.is_empty() {
            if !tokens[at].is("AND") {
                return Err(stray(&tokens[at..=at]));
            }
            at += 1;
        }
        let (clause, used) = clause(&tokens[at..])?;
        clauses.push(clause);
        at += used;
    }
    Ok(clauses)
}

fn stray(tokens: &[Token]) -> StoreError {
    let shown: Vec<String> = tokens.iter().map(|token| format!("'{}'", token.shown())).collect();
    StoreError::InvalidInput(format!("Invalid clause(s) in filter string: {}", shown.join(", ")))
}

fn clause(tokens: &[Token]) -> Result<(Clause, usize), StoreError> {
    let bad = || stray(&tokens[..tokens.len().min(3)]);
    let mut at = 0;
    let mut next = || {
        at += 1;
        tokens.get(at - 1)
    };
    let (entity, key) = match next() {
        Some(Token::Word(word)) => identifier(word),
        Some(Token::Quoted(text, '"' | '`')) => (None, text.clone()),
        _ => return Err(bad()),
    };
    let comparator = match next() {
        Some(Token::Comparator(text)) => match *text {
            "=" | "==" => Comparator::Equal,
            "!=" | "<>" => Comparator::NotEqual,
            ">" => Comparator::Greater,
            ">=" => Comparator::GreaterEqual,
            "<" => Comparator::Less,
            _ => Comparator::LessEqual,
        },
        Some(word) if word.is("LIKE") => Comparator::Like,
        Some(word) if word.is("ILIKE") => Comparator::Ilike,
        Some(word) if word.is("IN") => Comparator::In,
        Some(word) if word.is("NOT") && next().is_some_and(|word| word.is("IN")) => Comparator::NotIn,
        Some(word) if word.is("IS") => match next() {
            Some(word) if word.is("NULL") => Comparator::IsNull,
            Some(word) if word.is("NOT") && next().is_some_and(|word| word.is("NULL")) => Comparator::IsNotNull,
            _ => return Err(bad()),
        },
        _ => return Err(bad()),
    };
    let value = match comparator {
        Comparator::IsNull | Comparator::IsNotNull => Literal::None,
        Comparator::In | Comparator::NotIn => {
            let mut items = Vec::new();
            if next() != Some(&Token::Open) {
                return Err(bad());
            }
            loop {
                match (next(), next()) {
                    (Some(Token::Quoted(text, '\'' | '"')), Some(end @ (Token::Comma | Token::Close))) => {
                        items.push(text.clone());
                        if *end == Token::Close {
                            break Literal::List(items);
                        }
                    }
                    // `('a',)` as Python writes a tuple of one.
                    (Some(Token::Close), _) if !items.is_empty() => {
                        return Ok((Clause { entity, key, comparator, value: Literal::List(items) }, at - 1));
                    }
                    _ => {
                        return Err(StoreError::invalid(
                            "While parsing a list in the query, expected string value, punctuation, or whitespace, but got different type in list",
                        ));
                    }
                }
            }
        }
        _ => match next() {
            Some(Token::Quoted(text, '\'' | '"')) => Literal::Text(text.clone()),
            Some(Token::Word(word)) => match word.parse::<f64>() {
                Ok(number) if number.is_finite() => Literal::Number(word.clone(), number),
                _ => Literal::Number(word.clone(), f64::NAN),
            },
            _ => return Err(bad()),
        },
    };
    Ok((Clause { entity, key, comparator, value }, at))
}

/// `entity.key`; quotes around the key were taken off by the tokeniser, which left a NUL between.
fn identifier(word: &str) -> (Option<String>, String) {
    match word.split_once('.') {
        Some((entity, key)) => (Some(entity.to_owned()), key.trim_start_matches('\0').to_owned()),
        None => (None, word.to_owned()),
    }
}

fn tokens(filter: &str) -> Result<Vec<Token>, StoreError> {
    let mut tokens = Vec::new();
    let mut rest = filter.trim();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            c if c.is_whitespace() => {
                rest = rest.trim_start();
                continue;
            }
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            '\'' | '"' | '`' => {
                let (text, length) = quoted(rest, first, filter)?;
                (Token::Quoted(text, first), length)
            }
            '=' | '!' | '<' | '>' => {
                let two = ["==", "!=", ">=", "<=", "<>"].into_iter().find(|two| rest.starts_with(two));
                match (two, first) {
                    (Some(two), _) => (Token::Comparator(two), 2),
                    (None, '=') => (Token::Comparator("="), 1),
                    (None, '<') => (Token::Comparator("<"), 1),
                    (None, '>') => (Token::Comparator(">"), 1),
                    (None, _) => return Err(stray(&[Token::Word("!".into())])),
                }
            }
            ';' => {
                return Err(StoreError::InvalidInput(format!(
                    "Search filter contained multiple expression '{filter}'. Provide AND-ed expression list."
                )));
            }
            _ => {
                let ends = |c: char| c.is_whitespace() || "()',\"`=!<>;".contains(c);
                let mut length = rest.find(ends).unwrap_or(rest.len());
                let mut word = rest[..length].to_owned();
                let quote = rest[length..].chars().next().filter(|c| matches!(c, '"' | '`'));
                if let (true, Some(quote)) = (word.ends_with('.'), quote) {
                    let (text, more) = quoted(&rest[length..], quote, filter)?;
                    word.push('\0');
                    word.push_str(&text);
                    length += more;
                }
                (Token::Word(word), length)
            }
        };
        tokens.push(token);
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// Text within the quote that `rest` starts with, and the length of both quotes and all between.
fn quoted(rest: &str, quote: char, filter: &str) -> Result<(String, usize), StoreError> {
    let inner = &rest[1..];
    let end = inner
        .find(quote)
        .ok_or_else(|| StoreError::InvalidInput(format!("Invalid filter '{filter}': a {quote} is not closed")))?;
    Ok((inner[..end].to_owned(), end + 2))
}

impl Clause {
    /// The text a string attribute, tag or param is compared with.
    pub(crate) fn text(&self, kind: &str) -> Result<&str, StoreError> {
        match &self.value {
            Literal::Text(text) => Ok(text),
            other => Err(StoreError::InvalidInput(format!(
                "Expected a quoted string value for {kind} (e.g. 'my-value'). Got value {}",
                other.shown()
            ))),
        }
    }

    /// The number a metric or numeric attribute is compared with.
    pub(crate) fn number(&self, kind: &str) -> Result<f64, StoreError> {
        match &self.value {
            Literal::Number(_, number) if !number.is_nan() => Ok(*number),
            other => Err(StoreError::InvalidInput(format!(
                "Expected numeric value type for {kind}. Found {}",
                other.shown()
            ))),
        }
    }

    /// Refuses a comparator that is not among `allowed`, with MLflow's message.
    pub(crate) fn only(&self, allowed: &[Comparator]) -> Result<(), StoreError> {
        if allowed.contains(&self.comparator) {
            return Ok(());
        }
        let list: Vec<String> = allowed.iter().map(|c| format!("'{}'", c.text())).collect();
        Err(StoreError::InvalidInput(format!(
            "Invalid comparator '{}' not one of '{{{}}}'",
            self.comparator.text(),
            list.join(", ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(filter: &str) -> Clause {
        parse(filter).expect(filter).remove(0)
    }

    #[test]
    fn every_spelling_of_a_clause_is_read() {
        let c = one("metrics.acc >= 0.5");
        assert_eq!(
            (c.entity.as_deref(), c.key.as_str(), c.comparator),
            (Some("metrics"), "acc", Comparator::GreaterEqual)
        );
        assert_eq!(c.value, Literal::Number("0.5".into(), 0.5));
        assert_eq!(one("metrics.`a b.c`<-1e-3").key, "a b.c");
        assert_eq!(one("tags.\"mlflow.x\" = 'v'").key, "mlflow.x");
        assert_eq!(one("`run name` ILIKE \"%a'b\"").value, Literal::Text("%a'b".into()));
        assert_eq!(one("run_id IN ('a','b')").value, Literal::List(vec!["a".into(), "b".into()]));
        assert_eq!(one("run_id not in ('a',)").comparator, Comparator::NotIn);
        assert_eq!(one("params.p is not null").comparator, Comparator::IsNotNull);
        assert_eq!(one("tags.a.b = 'x'").key, "a.b");
        assert_eq!(parse("name = 'a AND b' and tags.x='y' AND metrics.m != 1").expect("three").len(), 3);
        assert!(parse("").expect("none").is_empty());
    }

    #[test]
    fn what_is_no_clause_is_named() {
        for (filter, part) in [
            ("name='a' OR name='b'", "'OR'"),
            ("name", "Invalid clause"),
            ("name = ", "Invalid clause"),
            ("= 'a'", "Invalid clause"),
            ("name = 'a", "not closed"),
            ("a = 1; drop table runs", "multiple expression"),
            ("run_id IN (1, 2)", "list"),
            ("run_id IN ('a'", "list"),
            ("(name = 'a')", "Invalid clause"),
            ("NOT name = 'a'", "Invalid clause"),
        ] {
            let error = parse(filter).expect_err(filter).to_string();
            assert!(error.contains(part), "{filter}: {error}");
        }
    }
}
