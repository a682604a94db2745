//! The OpenAPI document: what the macros found at the handlers, completed with what holds for all of them.
//!
//! Owns: [`document`], the patterns of texts, the security schemes, which problems an address can give.
//! Each handler says in an `x-slotcast` extension which scope it needs, which headers it reads and which refusals are
//! its own; here that becomes security, parameters and responses, and the extension is taken out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use strum::IntoEnumIterator;
use utoipa::{PartialSchema, ToSchema, openapi::OpenApi};

use super::{
    problem::{FieldBody, PROBLEMS, ProblemBody},
    wire::zone_names,
};
use crate::domain::{
    member::Scope,
    refusal::{KINDS, Kind},
    words::Language,
};

/// Texts of several places, by the names under which schemas refer to them. Written so that ECMA 262, Python and Rust
/// read them alike.
const PATTERNS: &[(&str, &str)] = &[
    // One line with something to see on it.
    (
        "@text",
        r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb][^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$",
    ),
    ("@line", r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"),
    ("@lines", r"^[^\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"),
    ("@password", r"^[^\u0000-\u001f\u007f-\u009f]*$"),
    ("@user-id", r"^[A-Za-z0-9][A-Za-z0-9._-]{2,31}$"),
    (
        // The lookahead is the limit of the part before the `@`.
        "@email",
        r"^(?=[^@]{1,64}@)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@(localhost|[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+)$",
    ),
    ("@web", r"^https?://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?([/?#][!#-;=?-Z_a-z~]*)?$"),
    ("@phone", r"^[+(]?[0-9][0-9 +().-]*[0-9)]$"),
    ("@card-token", r"^([A-Za-z0-9_-]*[A-Za-z_][A-Za-z0-9_-]*)?$"),
    ("@viewers-password", r"^[!-~]+$"),
    ("@channel-name", r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$"),
    ("@recipient", r"^age1[02-9ac-hj-np-z]+$"),
    ("@month", r"^(19[7-9][0-9]|2[0-9]{3})-(0[1-9]|1[0-2])$"),
    ("@code", r"^[a-z-]+$"),
    ("@digits", r"^[0-9]+$"),
    ("@feed", r"^[0-9a-f-]+$"),
];

/// The pattern of that name.
fn pattern(name: &str) -> Option<&'static str> {
    PATTERNS.iter().find(|(known, _)| *known == name).map(|(_, pattern)| *pattern)
}

/// Completes what the macros found.
///
/// - `origin`: where the API is found; `cookie`: the session cookie's name.
pub(super) fn document(openapi: &OpenApi, origin: &str, cookie: &str) -> Value {
    let mut document = serde_json::to_value(openapi).unwrap_or_default();
    document["openapi"] = "3.1.0".into();
    document["info"] = json!({
        "title": "slotcast",
        "version": env!("CARGO_PKG_VERSION"),
        "summary": "Reserve a channel for a window, and broadcast in it.",
        "description": ABOUT,
        "license": { "name": "MIT OR Apache-2.0" },
    });
    document["servers"] = json!([{ "url": origin }]);
    document["tags"] = TAGS.iter().map(|(name, text)| json!({ "name": name, "description": text })).collect();
    complete_components(&mut document["components"], cookie);
    if let Some(paths) = document["paths"].as_object_mut() {
        for operations in paths.values_mut().filter_map(Value::as_object_mut) {
            for (method, operation) in operations.iter_mut() {
                complete(method, operation);
                add_links(operation);
            }
        }
    }
    let settings =
        "/paths/~1api~1v1~1reservations~1{number}~1settings/post/responses/200/content/application~1json";
    if let Some(content) = document.pointer_mut(settings) {
        content["schema"] = json!({ "$ref": "#/components/schemas/SettingsFile" });
    }
    expand(&mut document);
    document
}

const ABOUT: &str = "Times are RFC 3339 in UTC; amounts are in minor units of the server's one currency. \
    Lists come as `{itemCount, pageCount, items}`. Every refusal is `application/problem+json` (RFC 9457) with the \
    next step in `next`; 422 says that a request does not fit its schema, 409 that it fits and cannot be now. \
    Requests that create take an `Idempotency-Key`; edits need the `ETag` that was read as `If-Match`. \
    Browsers log in for a cookie and show `X-CSRF-Token` with whatever changes something; programs use a bearer token.";

const TAGS: &[(&str, &str)] = &[
    ("Members", "Registering, logging in and out."),
    ("My account", "The member's own data, tokens and page."),
    ("Channels", "What is sold, what of it is free, what it costs."),
    ("Reservations", "Booking and the steps that follow."),
    ("On air", "What the broadcaster sees and does."),
    ("Programs", "What anybody may see."),
    ("Operator", "Running the server."),
    ("Payments", "For the payment company."),
    ("About", "This documentation."),
];

fn complete_components(components: &mut Value, cookie: &str) {
    for (name, schema) in [
        ("Problem", serde_json::to_value(ProblemBody::schema()).unwrap_or_default()),
        (FieldBody::name().as_ref(), serde_json::to_value(FieldBody::schema()).unwrap_or_default()),
    ] {
        components["schemas"][name] = schema;
    }
    components["schemas"]["ZoneName"] =
        json!({ "type": "string", "description": "Name of an IANA time zone.", "enum": zone_names() });
    components["schemas"]["SettingsFile"] = json!({
        "type": "object",
        "description": "Version 1 of the settings file; `docs/settings-file.md` explains each item.",
        "required": ["format", "version", "made_at", "reservation", "ingest", "channel", "program", "commands"],
        "properties": {
            "format": { "type": "string" },
            "version": { "type": "integer", "const": 1 },
            "made_at": { "type": "string", "format": "date-time" },
            "reservation": { "type": "object", "description": "Number, ID, window, connect window." },
            "ingest": { "type": "object", "description": "Server, path, access ports." },
            "channel": { "type": "object", "description": "Bandwidth class, seats, the viewers' address." },
            "program": { "type": "object", "description": "Title, open level, password, friends." },
            "commands": { "type": "object", "description": "Ready-made lines." },
        },
    });
    // No token covers the account.
    let scopes = Scope::iter().filter(|scope| *scope != Scope::Account);
    components["schemas"]["Scope"]["enum"] = scopes.map(|scope| scope.to_string()).collect();
    // A public program has no password, every other one has.
    components["schemas"]["ProgramDraft"]["oneOf"] = json!([
        { "properties": { "open_level": { "const": "public" }, "password": { "type": "null" } } },
        {
            "properties": { "open_level": { "enum": ["password", "secret"] }, "password": { "type": "string" } },
            "required": ["password"],
        },
    ]);
    components["schemas"]["SettingsRequest"]["oneOf"] = json!([
        { "properties": { "seal": { "enum": ["plain", "terminal_key", null] }, "passphrase": { "type": "null" } } },
        {
            "properties": { "seal": { "enum": ["passphrase", null] }, "passphrase": { "type": "string" } },
            "required": ["passphrase"],
        },
    ]);
    components["securitySchemes"] = json!({
        "session": { "type": "apiKey", "in": "cookie", "name": cookie, "description": "From the log-in." },
        "csrf": {
            "type": "apiKey", "in": "header", "name": "X-CSRF-Token",
            "description": "`csrf_token` of the log-in, beside the cookie, for whatever changes something.",
        },
        "token": { "type": "http", "scheme": "bearer", "description": "A token of POST /me/tokens." },
    });
}

/// Where a number that was just made leads: what makes it, and the addresses that take it.
const LINKS: &[(&str, &[&str])] = &[
    (
        "book",
        &[
            "reservation",
            "accept_terms",
            "reconfirm",
            "settings",
            "change",
            "cancel",
            "status",
            "history",
            "extend",
            "end",
        ],
    ),
    (
        "book_special",
        &[
            "reservation",
            "reconfirm",
            "settings",
            "change",
            "status",
            "history",
            "extend",
            "end",
            "program",
            "put_pickup",
            "end_pickup",
            "viewers",
            "kick_link",
            "operator_cancel",
            "refund",
        ],
    ),
];

fn add_links(operation: &mut Value) {
    let made = LINKS.iter().find(|(id, _)| operation["operationId"] == *id);
    let Some((_, targets)) = made else { return };
    let links: Map<String, Value> = targets
        .iter()
        .map(|target| {
            let link = json!({ "operationId": target, "parameters": { "number": "$response.body#/number" } });
            ((*target).to_owned(), link)
        })
        .collect();
    operation["responses"]["201"]["links"] = links.into();
}

/// What a handler says of itself.
struct Notes {
    scope: Option<String>,
    headers: Vec<String>,
    problems: Vec<String>,
    is_raw: bool,
}

impl Notes {
    fn taken_from(operation: &mut Value) -> Self {
        let notes = operation.as_object_mut().and_then(|operation| operation.remove("x-slotcast"));
        let notes = notes.unwrap_or_default();
        let texts = |name: &str| {
            let texts = notes[name].as_array().into_iter().flatten();
            texts.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            scope: notes["scope"].as_str().map(str::to_owned),
            headers: texts("headers"),
            problems: texts("problems"),
            is_raw: notes["raw"] == true,
        }
    }
}

fn complete(method: &str, operation: &mut Value) {
    let notes = Notes::taken_from(operation);
    let is_safe = method == "get";
    operation["security"] = security(notes.scope.as_deref(), is_safe);
    if let Some(scope) = notes.scope.as_deref().filter(|scope| *scope != "maybe") {
        let text = operation["description"].as_str().unwrap_or_default();
        let needs = match scope {
            "account" => "Needs a session; no token covers it.".to_owned(),
            "any-operator" => "Needs a session, or a token with one of the scopes of operators.".to_owned(),
            "book-read" => "Needs a session, or a token with the scopes `book` and `read`.".to_owned(),
            scope => format!("Needs a session, or a token with the scope `{scope}`."),
        };
        operation["description"] = format!("{text}\n\n{needs}").trim().into();
    }
    complete_parameters(operation, &notes);
    let mut codes: BTreeSet<&str> = ["url-too-long", "internal", "unavailable"].into();
    codes.extend(notes.problems.iter().map(String::as_str));
    if !is_safe {
        codes.insert("csrf");
    }
    codes.extend(problems_of_scope(notes.scope.as_deref()));
    codes.extend(problems_of_request(operation, &notes));
    for (status, kinds) in by_status(&codes) {
        operation["responses"][status.to_string()] = problem_response(status, &kinds);
    }
}

fn security(scope: Option<&str>, is_safe: bool) -> Value {
    let session = if is_safe { json!({ "session": [] }) } else { json!({ "session": [], "csrf": [] }) };
    match scope {
        None => json!([]),
        Some("maybe") => json!([{}, session, { "token": [] }]),
        Some("account") => json!([session]),
        Some(_) => json!([session, { "token": [] }]),
    }
}

fn problems_of_scope(scope: Option<&str>) -> &'static [&'static str] {
    match scope {
        None => &[],
        Some("maybe") => &["not-logged-in", "blocked"],
        Some("sell" | "moderate" | "ledger" | "any-operator") => {
            &["not-logged-in", "blocked", "scope", "not-operator"]
        }
        Some(_) => &["not-logged-in", "blocked", "scope"],
    }
}

fn problems_of_request(operation: &Value, notes: &Notes) -> Vec<&'static str> {
    let mut codes = Vec::new();
    let places: Vec<_> = operation["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|parameter| parameter["in"].as_str())
        .collect();
    if places.contains(&"path") {
        codes.extend(["not-found", "no-such-address"]);
    }
    if places.contains(&"query") {
        codes.push("invalid");
    }
    match (operation.get("requestBody"), notes.is_raw) {
        (None, _) => {}
        (Some(_), true) => codes.extend(["bad-request", "too-large", "too-slow"]),
        (Some(_), false) => {
            codes.extend(["bad-json", "bad-request", "too-large", "too-slow", "media-type", "invalid"])
        }
    }
    for header in &notes.headers {
        codes.extend(match header.as_str() {
            "idempotency-key" | "needed-idempotency-key" => &["bad-request", "idempotency-key-reused"][..],
            "if-match" => &["bad-request", "stale", "if-match-required"],
            _ => &["bad-request", "stale"],
        });
    }
    codes
}

fn complete_parameters(operation: &mut Value, notes: &Notes) {
    let mut parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    for parameter in &mut parameters {
        // A parameter is there or not; there is no null in an address.
        if let Some(kinds) = parameter["schema"]["type"].as_array() {
            let kind = kinds.iter().find(|kind| *kind != "null").cloned();
            parameter["schema"]["type"] = kind.unwrap_or_default();
        }
        if let Some(branches) = parameter["schema"]["oneOf"].as_array() {
            let branch = branches.iter().find(|branch| branch["type"] != "null").cloned();
            parameter["schema"] = branch.unwrap_or_default();
        }
        if parameter["name"] == "zone" {
            parameter["schema"] = json!({ "$ref": "#/components/schemas/ZoneName" });
        }
    }
    for header in &notes.headers {
        parameters.push(match header.as_str() {
            "idempotency-key" | "needed-idempotency-key" => json!({
                "name": "Idempotency-Key", "in": "header", "required": header == "needed-idempotency-key",
                "description": "Names this request: repeated with the same key, it is done once. A fresh one each time.",
                "schema": { "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$" },
                "example": "6f1c2a40-3b8e-4f0e-9d53-1f1f0f3c7b11",
            }),
            header => json!({
                "name": "If-Match", "in": "header", "required": header == "if-match",
                "description": "The ETag that was read.",
                "schema": { "type": "string", "pattern": "^(\"[0-9]{1,16}\"|\\*)$" },
                "example": "\"1\"",
            }),
        });
    }
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
}

fn by_status(codes: &BTreeSet<&str>) -> BTreeMap<u16, Vec<&'static Kind>> {
    let mut grouped: BTreeMap<u16, Vec<&'static Kind>> = BTreeMap::new();
    for kind in KINDS.iter().filter(|kind| codes.contains(kind.code)) {
        grouped.entry(kind.status).or_default().push(kind);
    }
    grouped
}

fn problem_response(status: u16, kinds: &[&Kind]) -> Value {
    let texts: Vec<_> =
        kinds.iter().map(|kind| format!("`{}`: {}.", kind.code, kind.title(Language::English))).collect();
    let examples: Map<String, Value> = kinds
        .iter()
        .map(|kind| {
            let example = json!({
                "type": format!("{PROBLEMS}/{}", kind.code),
                "title": kind.title(Language::English), "status": kind.status, "detail": kind.title(Language::English), "next": kind.next(Language::English),
            });
            (kind.code.to_owned(), json!({ "value": example }))
        })
        .collect();
    let mut response = json!({
        "description": texts.join(" "),
        "content": { "application/problem+json": {
            "schema": { "$ref": "#/components/schemas/Problem" },
            "examples": examples,
        }},
    });
    match status {
        401 => response["headers"] = header("WWW-Authenticate", "string", "How to log in."),
        429 | 503 => response["headers"] = header("Retry-After", "integer", "Seconds to wait."),
        _ => {}
    }
    response
}

fn header(name: &str, kind: &str, text: &str) -> Value {
    json!({ name: { "description": text, "required": true, "schema": { "type": kind } } })
}

/// Writes patterns out where schemas refer to them by name.
pub(super) fn expand(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let known = members.get("pattern").and_then(Value::as_str).and_then(pattern);
            if let Some(known) = known {
                members.insert("pattern".to_owned(), known.into());
            }
            members.values_mut().for_each(expand);
        }
        Value::Array(items) => items.iter_mut().for_each(expand),
        _ => {}
    }
}
