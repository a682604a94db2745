//! Reads requests: bodies, queries, paths and the headers of creates and edits; each checked against its schema.
//!
//! Owns: [`Body`], [`Query`], [`Path`], [`IdempotencyKey`], [`IfMatch`].
//! Refuses: what is too large, of another format, or does not fit, with every item named.

use std::time::Duration;

use axum::{
    body::Body as RawBody,
    extract::{FromRequest, FromRequestParts, Path as RawPath, Request},
    http::{HeaderMap, header, request::Parts},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use utoipa::{
    IntoParams, ToSchema,
    openapi::path::{Parameter, ParameterIn},
};

use super::{
    Api,
    problem::{Answer, Problem},
    shape::Wrong,
};
use crate::{
    domain::refusal::{FieldProblem, Refusal},
    service::Idempotency,
};

/// Bytes of a body.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
/// A body must be here within this.
const BODY_WAIT_MAX: Duration = Duration::from_secs(10);

/// A JSON body that fits the schema of `T`.
pub(super) struct Body<T> {
    /// What came.
    pub(super) value: T,
    /// SHA-256 of method, path and body: tells whether a repeated request is the same.
    pub(super) hash: [u8; 32],
}

impl<T: DeserializeOwned + ToSchema + Send> FromRequest<Api> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        check_media_type(&parts.headers)?;
        let bytes = read(&parts.headers, body).await?;
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Refusal::BadJson { line: error.line(), column: error.column() })?;
        named(&api.shapes().check(&T::name(), &value))?;
        let value = whole(value);
        let value = serde_json::from_value(value).map_err(|error| {
            tracing::debug!(%error, "a body fits its schema and not its type");
            Refusal::from(FieldProblem::new(
                "body",
                "what the documentation shows",
                "ドキュメントのとおりの内容",
            ))
        })?;
        let mut hash = Sha256::new();
        for part in [parts.method.as_str().as_bytes(), parts.uri.path().as_bytes()] {
            hash.update(part);
            hash.update([0]);
        }
        hash.update(&bytes);
        Ok(Self { value, hash: hash.finalize().into() })
    }
}

/// Numbers like `3.0` as whole ones: JSON Schema says that they are (draft 2020-12 §4.2.1), and nothing here is a
/// fraction.
fn whole(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15);
            float.map_or(Value::Number(number), |float| Value::from(float as i64))
        }
        Value::Array(items) => items.into_iter().map(whole).collect(),
        Value::Object(members) => members.into_iter().map(|(name, member)| (name, whole(member))).collect(),
        other => other,
    }
}

/// A body as it came, at most [`BODY_BYTES_MAX`].
pub(super) struct RawBytes(pub(super) Vec<u8>);

impl FromRequest<Api> for RawBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, _api: &Api) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        Ok(Self(read(&parts.headers, body).await?))
    }
}

fn check_media_type(headers: &HeaderMap) -> Answer<()> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Refusal::MediaType { expected: "application/json" }.into())
}

async fn read(headers: &HeaderMap, body: RawBody) -> Answer<Vec<u8>> {
    let too_large = || Refusal::TooLarge { bytes_max: BODY_BYTES_MAX };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let declared = declared.and_then(|text| text.parse::<u64>().ok());
    if declared.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return Err(too_large().into());
    }
    let whole = timeout(BODY_WAIT_MAX, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let whole = whole.map_err(|_| Refusal::TooSlow { seconds_max: BODY_WAIT_MAX.as_secs() })?;
    match whole {
        Ok(whole) => Ok(whole.to_bytes().to_vec()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large().into()),
        Err(_) => Err(Refusal::BadRequest { problem: "The body ended before its length." }.into()),
    }
}

/// Turns what is wrong into a problem; nothing wrong is right.
fn named(wrong: &[Wrong]) -> Answer<()> {
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Refusal::Invalid(problems(wrong)).into())
}

/// The query, each item as documented; unknown items are ignored.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + IntoParams + Send> FromRequestParts<Api> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let given = form(parts.uri.query().unwrap_or_default());
        let declared = T::into_params(|| Some(ParameterIn::Query));
        fit(api, &declared, given).map_err(|wrong| Refusal::Invalid(problems(&wrong)).into()).map(Self)
    }
}

/// The parts of the path, each as documented; what does not fit is not there.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + IntoParams + Send> FromRequestParts<Api> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let RawPath(given) = RawPath::<Vec<(String, String)>>::from_request_parts(parts, api)
            .await
            .map_err(|_| Refusal::NoSuchAddress(Vec::new()))?;
        let declared = T::into_params(|| Some(ParameterIn::Path));
        fit(api, &declared, given).map(Self).map_err(|wrong| Refusal::NoSuchAddress(problems(&wrong)).into())
    }
}

fn problems(wrong: &[Wrong]) -> Vec<FieldProblem> {
    let name = |field: &str| if field.is_empty() { "body" } else { field }.to_owned();
    wrong
        .iter()
        .map(|(field, expected)| FieldProblem::new(name(field), expected.clone(), expected.clone()))
        .collect()
}

/// Reads declared parameters out of texts.
fn fit<T: DeserializeOwned>(
    api: &Api,
    declared: &[Parameter],
    given: Vec<(String, String)>,
) -> Result<T, Vec<Wrong>> {
    let mut wrong = Vec::new();
    let mut values = Map::new();
    for parameter in declared {
        let name = parameter.name.as_str();
        let schema = serde_json::to_value(&parameter.schema).unwrap_or_default();
        let mut texts = given.iter().filter(|(key, _)| key == name).map(|(_, text)| text);
        let Some(text) = texts.next() else {
            if parameter.required == utoipa::openapi::Required::True {
                wrong.push((name.to_owned(), "a value (it is missing)".to_owned()));
            }
            continue;
        };
        if texts.next().is_some() {
            wrong.push((name.to_owned(), "it once".to_owned()));
            continue;
        }
        let value = typed(&api.shapes().types(&schema), text);
        let found = api.shapes().check_as(&schema, &value, name);
        if found.is_empty() {
            values.insert(name.to_owned(), value);
        }
        wrong.extend(found);
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    serde_json::from_value(Value::Object(values))
        .map_err(|_| vec![("query".to_owned(), "what the documentation shows".to_owned())])
}

/// A text as the JSON value that its schema speaks of.
fn typed(types: &[&str], text: &str) -> Value {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit()) || text.starts_with('-');
    let number = text.parse::<i64>().ok().filter(|_| types.contains(&"integer") && is_plain);
    if let Some(number) = number {
        return number.into();
    }
    if types.contains(&"boolean") {
        match text {
            "true" => return true.into(),
            "false" => return false.into(),
            _ => {}
        }
    }
    Value::String(text.to_owned())
}

/// The items of a query (WHATWG `application/x-www-form-urlencoded`). What is not UTF-8 is replaced.
fn form(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|item| !item.is_empty())
        .map(|item| item.split_once('=').unwrap_or((item, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let digit = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            (b'+', ..) => bytes.push(b' '),
            _ => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `Idempotency-Key`: 1 to 128 visible ASCII characters; may be left out.
pub(super) struct IdempotencyKey(Option<String>);

impl IdempotencyKey {
    /// With what the request was.
    pub(super) fn of(self, request_hash: [u8; 32]) -> Option<Idempotency> {
        self.0.map(|key| Idempotency { key, request_hash })
    }
}

impl FromRequestParts<Api> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _api: &Api) -> Result<Self, Problem> {
        let mut keys = parts.headers.get_all("idempotency-key").iter();
        let Some(key) = keys.next() else { return Ok(Self(None)) };
        let key = key.to_str().ok().filter(|key| {
            (1..=128).contains(&key.len())
                && key.bytes().all(|b| b.is_ascii_graphic())
                && keys.next().is_none()
        });
        let Some(key) = key else {
            let text = "Idempotency-Key: expected 1 to 128 visible ASCII characters, once.";
            return Err(Refusal::BadRequest { problem: text }.into());
        };
        Ok(Self(Some(key.to_owned())))
    }
}

/// `If-Match`: the versions that an edit may replace; `None`: whichever there is (`*`).
pub(super) struct IfMatch(Option<Vec<i64>>);

impl IfMatch {
    /// The version to replace, `current` being the one there is.
    pub(super) fn version(&self, current: i64) -> Answer<i64> {
        match &self.0 {
            Some(versions) if !versions.contains(&current) => Err(Refusal::Stale { version: current }.into()),
            _ => Ok(current),
        }
    }
}

impl FromRequestParts<Api> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _api: &Api) -> Result<Self, Problem> {
        let mut lines = parts.headers.get_all(header::IF_MATCH).iter().peekable();
        if lines.peek().is_none() {
            return Err(Refusal::NoIfMatch.into());
        }
        let bad = || Refusal::BadRequest { problem: "If-Match: expected an ETag like \"3\", or *." };
        let mut versions = Vec::new();
        for line in lines {
            let tags = line.to_str().map_err(|_| bad())?.split(',').map(str::trim);
            // Empty entries of a list are passed over (RFC 9110 §5.6.1).
            for tag in tags.filter(|tag| !tag.is_empty()) {
                if tag == "*" {
                    return Ok(Self(None));
                }
                versions.push(version_of(tag).ok_or_else(bad)?);
            }
        }
        Ok(Self(Some(versions)))
    }
}

/// `If-Match` where an edit may come without.
pub(super) struct MaybeIfMatch(pub(super) Option<IfMatch>);

impl FromRequestParts<Api> for MaybeIfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        if parts.headers.contains_key(header::IF_MATCH) {
            IfMatch::from_request_parts(parts, api).await.map(Some).map(Self)
        } else {
            Ok(Self(None))
        }
    }
}

/// The version in a strong entity tag of ours.
fn version_of(tag: &str) -> Option<i64> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    let is_number = (1..=16).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let never = futures_util::stream::pending::<Result<axum::body::Bytes, std::io::Error>>();
        let read = read(&HeaderMap::new(), RawBody::from_stream(never)).await;
        assert!(matches!(read.unwrap_err().0, Refusal::TooSlow { seconds_max: 10 }));
    }

    #[test]
    fn queries_are_decoded_once() {
        assert_eq!(
            form("a=1&b=Europe%2FBerlin&c=x+y&d&&e=%25&f=%zz"),
            [("a", "1"), ("b", "Europe/Berlin"), ("c", "x y"), ("d", ""), ("e", "%"), ("f", "%zz")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn only_strong_tags_of_ours_are_versions() {
        assert_eq!(version_of("\"12\""), Some(12));
        for bad in ["12", "W/\"12\"", "\"\"", "\"a\"", "\"12", "\"99999999999999999\""] {
            assert_eq!(version_of(bad), None, "{bad}");
        }
    }
}
