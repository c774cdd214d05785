//! Requests of MLflow's API: proto2's JSON in a body, or the same fields as query parameters.
//!
//! Rules measured on MLflow 3.17 (notes on its wire): unknown fields are ignored, numbers may be texts, camelCase
//! names are read but do not satisfy a required field, enums may be numbers, non-finite doubles are texts.

use crate::error::ApiError;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Largest JSON body: the client cuts its batches at about 1 MB, a data set's profile may have 16 MB.
const MAX_BODY: usize = 32 << 20;

/// The fields of a request, or of one object in it.
#[derive(Debug, Default, Clone)]
pub struct Fields {
    values: Map<String, Value>,
    /// Fields that were spelled in camelCase.
    camel: BTreeSet<String>,
    /// `metrics[3].` within a list, for messages.
    at: String,
    /// True if the fields come from a query, where every value is text.
    query: bool,
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        if request.method() == Method::GET {
            return Ok(Self::from_query(request.uri().query().unwrap_or_default()));
        }
        let kind = request.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or_default().to_owned());
        let body = axum::body::to_bytes(request.into_body(), MAX_BODY).await.map_err(|_| {
            ApiError::mlflow(
                "INVALID_PARAMETER_VALUE",
                format!("the request is larger than {MAX_BODY} bytes or broke off"),
            )
        })?;
        if body.is_empty() {
            return Ok(Self::default());
        }
        match kind.as_deref().map(|kind| kind.split(';').next().unwrap_or_default().trim()) {
            Some("application/json") => {}
            Some(_) => return Err(ApiError::invalid("Bad Request. Content-Type must be one of ['application/json'].")),
            None => return Err(ApiError::invalid("Bad Request. Content-Type header is missing.")),
        }
        let mut value: Value =
            serde_json::from_slice(&body).map_err(|e| ApiError::invalid(format!("the request is not JSON: {e}")))?;
        // Some clients send JSON in a JSON text.
        if let Value::String(text) = &value {
            value =
                serde_json::from_str(text).map_err(|e| ApiError::invalid(format!("the request is not JSON: {e}")))?;
        }
        match value {
            Value::Object(values) => Self::new(values, String::new()),
            Value::Null => Ok(Self::default()),
            other => Err(ApiError::invalid(format!("the request should be an object, not {}", type_name(&other)))),
        }
    }
}

impl Fields {
    fn new(values: Map<String, Value>, at: String) -> Result<Self, ApiError> {
        let mut fields = Self { at, ..Self::default() };
        for (name, value) in values {
            let snake = snake_case(&name);
            if snake != name {
                fields.camel.insert(snake.clone());
            }
            if fields.values.insert(snake.clone(), value).is_some() {
                return Err(ApiError::invalid(format!(
                    "Request specifies both '{snake}' and '{}'; provide only one of them.",
                    camel_case(&snake)
                )));
            }
        }
        // proto2's null is an absent field.
        fields.values.retain(|_, value| !value.is_null());
        Ok(fields)
    }

    /// The parameters of a query string; the last of several with one name counts, lists take them all.
    pub fn from_query(query: &str) -> Self {
        let mut fields = Self { query: true, ..Self::default() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match fields.values.entry(name.into_owned()).or_insert_with(|| Value::Array(Vec::new())) {
                Value::Array(values) => values.push(Value::String(value.into_owned())),
                _ => unreachable!("only lists are put in"),
            }
        }
        fields
    }

    fn get(&self, name: &str) -> Option<&Value> {
        match self.values.get(name) {
            Some(Value::Array(values)) if self.query => values.last(),
            value => value,
        }
    }

    fn missing(&self, name: &str) -> ApiError {
        ApiError::invalid(format!(
            "Missing value for required parameter '{}{name}'. See the API docs for more information about request parameters.",
            self.at
        ))
    }

    fn wrong(&self, name: &str, value: &Value) -> ApiError {
        let shown: String = value.to_string().chars().take(200).collect();
        ApiError::invalid(format!(
            "Invalid value {shown} for parameter '{}{name}' supplied:  Hint: Value was of type '{}'. See the API docs for more information about request parameters.",
            self.at,
            type_name(value)
        ))
    }

    /// A text; absent is none, empty is empty.
    pub fn opt_text(&self, name: &str) -> Result<Option<String>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// A text; absent is empty.
    pub fn text(&self, name: &str) -> Result<String, ApiError> {
        Ok(self.opt_text(name)?.unwrap_or_default())
    }

    /// A text that must be there and not be empty.
    pub fn required(&self, name: &str) -> Result<String, ApiError> {
        let text = self.text(name)?;
        if text.is_empty() || self.camel.contains(name) { Err(self.missing(name)) } else { Ok(text) }
    }

    /// The run a request is about: `run_id`, or `run_uuid` as older clients say.
    pub fn run_id(&self) -> Result<String, ApiError> {
        match self.required("run_id") {
            Ok(id) => Ok(id),
            Err(error) => match self.text("run_uuid")? {
                old if old.is_empty() => Err(error),
                old => Ok(old),
            },
        }
    }

    /// A whole number, also as text.
    pub fn opt_int(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number
                .as_i64()
                .or_else(|| number.as_f64().filter(|x| x.fract() == 0.0 && x.abs() < 9.0e15).map(|x| x as i64)),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.map(Some).ok_or_else(|| self.wrong(name, value))
    }

    /// A whole number that must be there.
    pub fn required_int(&self, name: &str) -> Result<i64, ApiError> {
        match self.opt_int(name)? {
            Some(value) if !self.camel.contains(name) => Ok(value),
            _ => Err(self.missing(name)),
        }
    }

    /// A number: `"NaN"`, `"Infinity"`, numbers as text and booleans count.
    pub fn required_double(&self, name: &str) -> Result<f64, ApiError> {
        let value = self.get(name).ok_or_else(|| self.missing(name))?;
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
            Value::String(text) => match text.as_str() {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                text => text.parse().ok().filter(|x: &f64| x.is_finite()),
            },
            _ => None,
        };
        number.ok_or_else(|| self.wrong(name, value))
    }

    /// A number from 0 up, written out.
    pub fn opt_number(&self, name: &str) -> Result<Option<f64>, ApiError> {
        let Some(text) = self.opt_text(name)? else { return Ok(None) };
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
        number.map(Some).ok_or_else(|| ApiError::invalid(format!("{name}={text}: write a number from 0 up")))
    }

    /// Optional boolean field: `true` or `false`, also as text.
    pub fn opt_bool(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(*truth)),
            Some(Value::String(text)) if text == "true" => Ok(Some(true)),
            Some(Value::String(text)) if text == "false" => Ok(Some(false)),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// An enum value: its name, or its number.
    pub fn opt_enum<T>(
        &self,
        name: &str,
        by_name: impl Fn(&str) -> Option<T>,
        by_number: impl Fn(i64) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(by_name(text).or_else(|| by_number(text.parse().ok()?))),
            Some(Value::Number(number)) => Ok(number.as_i64().and_then(by_number)),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// Texts; absent is none of them.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, ApiError> {
        match self.values.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| match value {
                    Value::String(text) => Ok(text.clone()),
                    other => Err(self.wrong(name, other)),
                })
                .collect(),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// Field with a list of texts, or with a single text that becomes a list of one; empty if absent.
    pub fn texts_or_text(&self, name: &str) -> Result<Vec<String>, ApiError> {
        match self.values.get(name) {
            Some(Value::String(text)) => Ok(vec![text.clone()]),
            _ => self.texts(name),
        }
    }

    /// Objects; absent is none of them.
    pub fn list(&self, name: &str) -> Result<Vec<Self>, ApiError> {
        match self.values.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values
                .iter()
                .enumerate()
                .map(|(i, value)| match value {
                    Value::Object(values) => Self::new(values.clone(), format!("{}{name}[{i}].", self.at)),
                    other => Err(self.wrong(name, other)),
                })
                .collect(),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// Required object field; its own fields are read as these are.
    pub fn object(&self, name: &str) -> Result<Self, ApiError> {
        self.opt_object(name)?.ok_or_else(|| self.missing(name))
    }

    /// Optional object field; an error if it is something else.
    pub fn opt_object(&self, name: &str) -> Result<Option<Self>, ApiError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Value::Object(values)) => Self::new(values.clone(), format!("{}{name}.", self.at)).map(Some),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// `key` and `value` pairs; an absent value is empty.
    pub fn pairs(&self, name: &str) -> Result<Vec<serin_tracking::Tag>, ApiError> {
        self.list(name)?.iter().map(Self::pair).collect()
    }

    /// One `key` and `value`.
    pub fn pair(&self) -> Result<serin_tracking::Tag, ApiError> {
        Ok(serin_tracking::Tag { key: self.required("key")?, value: self.text("value")? })
    }

    /// An experiment id: a text in MLflow's API, a number here.
    pub fn experiment_id(&self, name: &str) -> Result<i64, ApiError> {
        experiment_id(&self.required(name)?)
    }

    /// A version: a text in MLflow's API, a number here.
    pub fn version(&self, name: &str) -> Result<i64, ApiError> {
        let text = self.required(name)?;
        text.parse().map_err(|_| ApiError::invalid(format!("Parameter '{name}' must be an integer, got '{text}'.")))
    }

    /// Results of a page: `default` when absent, an error outside 1 to `most`.
    pub fn page_size(&self, default: i64, most: i64) -> Result<i64, ApiError> {
        let size = self.opt_int("max_results")?.unwrap_or(default);
        if size < 1 {
            return Err(ApiError::invalid(format!(
                "Invalid value {size} for parameter 'max_results' supplied. It must be a positive integer"
            )));
        }
        if size > most {
            return Err(ApiError::invalid(format!(
                "Invalid value {size} for parameter 'max_results' supplied. It must be at most {most}"
            )));
        }
        Ok(size)
    }

    /// Offset in the page token; 0 when there is none.
    pub fn page_offset(&self) -> Result<i64, ApiError> {
        let token = self.text("page_token")?;
        if token.is_empty() {
            return Ok(0);
        }
        crate::page_token::decode(&token)
            .ok_or_else(|| ApiError::invalid(format!("Invalid page token, decoded value={token:?}")))
    }
}

/// Reads an experiment id: decimal digits in MLflow's API.
///
/// # Errors
/// MLflow's `INVALID_PARAMETER_VALUE` for anything else.
pub fn experiment_id(text: &str) -> Result<i64, ApiError> {
    text.parse().map_err(|_| {
        ApiError::invalid(format!("Invalid experiment ID '{text}'. Experiment ID must be a valid integer."))
    })
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else {
            camel.push(if upper { c.to_ascii_uppercase() } else { c });
            upper = false;
        }
    }
    camel
}

/// Python's word for a JSON type, as MLflow's messages say it.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}
