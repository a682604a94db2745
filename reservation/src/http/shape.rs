//! Checks a request against the schema that the OpenAPI document gives for it, and names all that is wrong at once.
//!
//! Owns: [`Shapes`]. Understands as much of JSON Schema as our own document uses.
//! Invariant: what is documented and what is checked are one text, so they cannot disagree.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

/// How deep a schema may refer to others.
const DEPTH_MAX: u32 = 16;
/// How many wrong items are named.
const WRONG_MAX: usize = 50;

/// One item that is wrong: its name and what was expected.
pub(super) type Wrong = (String, String);

/// The schemas of the document, by name.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    schemas: Map<String, Value>,
    patterns: BTreeMap<String, Regex>,
}

impl Shapes {
    /// Of a whole OpenAPI document. Patterns that cannot be compiled are an error: they are ours.
    pub(super) fn of(document: &Value) -> Result<Self, regex::Error> {
        let schemas = document.pointer("/components/schemas").and_then(Value::as_object).cloned();
        let mut shapes = Self { schemas: schemas.unwrap_or_default(), patterns: BTreeMap::new() };
        collect_patterns(document, &mut shapes.patterns)?;
        Ok(shapes)
    }

    /// What is wrong with `value` as the schema called `name`.
    pub(super) fn check(&self, name: &str, value: &Value) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        match self.schemas.get(name) {
            Some(schema) => self.check_value(schema, value, "", DEPTH_MAX, &mut wrong),
            None => wrong.push((String::new(), format!("a documented {name}"))),
        }
        wrong
    }

    /// What is wrong with `value` as that schema.
    pub(super) fn check_as(&self, schema: &Value, value: &Value, path: &str) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        self.check_value(schema, value, path, DEPTH_MAX, &mut wrong);
        wrong
    }

    /// The types that a schema allows, references followed.
    pub(super) fn types<'a>(&'a self, schema: &'a Value) -> Vec<&'a str> {
        let schema = self.resolved(schema);
        match &schema["type"] {
            Value::String(one) => vec![one.as_str()],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => self.branches(schema).iter().flat_map(|branch| self.types(branch)).collect(),
        }
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
        name.and_then(|name| self.schemas.get(name)).unwrap_or(schema)
    }

    fn branches<'a>(&self, schema: &'a Value) -> &'a [Value] {
        ["oneOf", "anyOf", "allOf"]
            .iter()
            .find_map(|key| schema[key].as_array())
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    fn check_value(&self, schema: &Value, value: &Value, path: &str, depth: u32, wrong: &mut Vec<Wrong>) {
        let schema = self.resolved(schema);
        if depth == 0 || wrong.len() >= WRONG_MAX {
            return;
        }
        let before = wrong.len();
        // Beside properties, branches only say which of them go together: that comes after each of them is right.
        let is_narrowed = schema.get("properties").is_some();
        if !is_narrowed {
            self.check_branches(schema, value, path, depth, wrong);
        }
        if wrong.len() > before {
            return;
        }
        if schema.get("type").is_some() && !self.types(schema).iter().any(|kind| is_of_type(kind, value)) {
            wrong.push((path.to_owned(), expected(schema)));
            return;
        }
        if schema["enum"].as_array().is_some_and(|allowed| !allowed.contains(value))
            || schema.get("const").is_some_and(|only| only != value)
        {
            wrong.push((path.to_owned(), expected(schema)));
            return;
        }
        match value {
            Value::String(text) if !self.is_text_right(schema, text) => {
                wrong.push((path.to_owned(), expected(schema)));
            }
            Value::Number(_) if !is_number_right(schema, value) => {
                wrong.push((path.to_owned(), expected(schema)));
            }
            Value::Array(items) => self.check_items(schema, items, path, depth, wrong),
            Value::Object(members) => self.check_members(schema, members, path, depth, wrong),
            _ => {}
        }
        if is_narrowed && wrong.len() == before {
            self.check_branches(schema, value, path, depth, wrong);
        }
    }

    fn check_branches(&self, schema: &Value, value: &Value, path: &str, depth: u32, wrong: &mut Vec<Wrong>) {
        let branches = self.branches(schema);
        if branches.is_empty() {
            return;
        }
        let tried: Vec<_> = branches
            .iter()
            .map(|branch| {
                let mut found = Vec::new();
                self.check_value(branch, value, path, depth - 1, &mut found);
                (branch, found)
            })
            .collect();
        if schema.get("allOf").is_some() {
            wrong.extend(tried.into_iter().flat_map(|(_, found)| found));
            return;
        }
        if tried.iter().any(|(_, found)| found.is_empty()) {
            return;
        }
        // The branch whose type fits, or whose choice was made, says best what is wrong; `null` beside it helps nobody.
        let best = tried.into_iter().find(|(branch, _)| {
            self.types(branch).iter().any(|kind| *kind != "null" && is_of_type(kind, value))
                || is_chosen(branch, value)
        });
        match best {
            Some((_, found)) => wrong.extend(found),
            None => wrong.push((path.to_owned(), expected(self.resolved(&branches[branches.len() - 1])))),
        }
    }

    fn is_text_right(&self, schema: &Value, text: &str) -> bool {
        let length = text.chars().count() as u64;
        let pattern = schema["pattern"].as_str().and_then(|pattern| self.patterns.get(pattern));
        schema["minLength"].as_u64().is_none_or(|least| least <= length)
            && schema["maxLength"].as_u64().is_none_or(|most| length <= most)
            && pattern.is_none_or(|pattern| pattern.is_match(text))
    }

    fn check_items(&self, schema: &Value, items: &[Value], path: &str, depth: u32, wrong: &mut Vec<Wrong>) {
        let count = items.len() as u64;
        let is_unique = schema["uniqueItems"] != true
            || items.iter().enumerate().all(|(at, item)| !items[..at].contains(item));
        let right = schema["minItems"].as_u64().is_none_or(|least| least <= count)
            && schema["maxItems"].as_u64().is_none_or(|most| count <= most)
            && is_unique;
        if !right {
            wrong.push((path.to_owned(), expected(schema)));
            return;
        }
        if let Some(of) = schema.get("items") {
            for (at, item) in items.iter().enumerate() {
                self.check_value(of, item, &format!("{path}[{at}]"), depth - 1, wrong);
            }
        }
    }

    fn check_members(
        &self,
        schema: &Value,
        members: &Map<String, Value>,
        path: &str,
        depth: u32,
        wrong: &mut Vec<Wrong>,
    ) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let properties = schema["properties"].as_object();
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                let of = properties.and_then(|properties| properties.get(name));
                let text = of.map_or_else(String::new, |of| expected(self.resolved(of)));
                wrong.push((below(name), format!("{text} (it is missing)")));
            }
        }
        for (name, value) in members {
            match properties.and_then(|properties| properties.get(name)) {
                Some(of) => self.check_value(of, value, &below(name), depth - 1, wrong),
                None if schema["additionalProperties"] == false => {
                    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
                    wrong.push((below(&name), "no item of that name".to_owned()));
                }
                None => {}
            }
        }
    }
}

/// Whether the value has all that the branch fixes, of properties with a few values or a single one.
fn is_chosen(branch: &Value, value: &Value) -> bool {
    let mut fixed = branch["properties"].as_object().into_iter().flatten().filter_map(|(name, of)| {
        let only = of.get("const").map(std::slice::from_ref);
        Some((name, only.or_else(|| of["enum"].as_array().map(Vec::as_slice))?))
    });
    value.is_object()
        && branch.get("properties").is_some()
        && fixed.all(|(name, of)| of.contains(&value[name]))
}

fn collect_patterns(value: &Value, patterns: &mut BTreeMap<String, Regex>) -> Result<(), regex::Error> {
    match value {
        Value::Object(members) => {
            let pattern = members.get("pattern").and_then(Value::as_str);
            // What looks ahead is beyond this engine: the domain checks such words by itself.
            if let Some(pattern) = pattern.filter(|pattern| !pattern.contains("(?=")) {
                patterns.insert(pattern.to_owned(), Regex::new(pattern)?);
            }
            members.values().try_for_each(|member| collect_patterns(member, patterns))
        }
        Value::Array(items) => items.iter().try_for_each(|item| collect_patterns(item, patterns)),
        _ => Ok(()),
    }
}

fn is_of_type(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

fn is_number_right(schema: &Value, value: &Value) -> bool {
    let number = value.as_f64().unwrap_or(f64::NAN);
    schema["minimum"].as_f64().is_none_or(|least| least <= number)
        && schema["maximum"].as_f64().is_none_or(|most| number <= most)
}

/// What a schema wants, in words: its own description where the limits alone would not be understood.
fn expected(schema: &Value) -> String {
    let limit = |key: &str| schema[key].as_u64();
    if let Some(values) = schema["enum"].as_array() {
        if values.len() > 12 {
            return schema["description"].as_str().unwrap_or("one of the documented values").to_owned();
        }
        let values: Vec<_> = values.iter().map(ToString::to_string).collect();
        return format!("one of {}", values.join(", "));
    }
    let kind = match &schema["type"] {
        Value::String(kind) => kind.as_str(),
        Value::Array(kinds) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("")
        }
        _ => "",
    };
    let (low, high) = match kind {
        "string" => (limit("minLength"), limit("maxLength")),
        "array" => (limit("minItems"), limit("maxItems")),
        _ => (limit("minimum"), limit("maximum")),
    };
    let range = match (low, high) {
        (Some(low), Some(high)) => format!("{low} to {high} "),
        (Some(low), None) => format!("at least {low} "),
        (None, Some(high)) => format!("at most {high} "),
        (None, None) => String::new(),
    };
    match kind {
        "string" => match schema["format"].as_str() {
            Some("date-time") => "a time like 2026-11-22T10:00:00Z".to_owned(),
            Some("date") => "a date like 2026-11-22".to_owned(),
            _ if range.is_empty() => "a text".to_owned(),
            _ if schema["pattern"].is_string() => {
                let note = schema["description"].as_str().unwrap_or("as documented");
                format!("{range}characters: {note}")
            }
            _ => format!("{range}characters"),
        },
        "array" if range.is_empty() => "a list".to_owned(),
        "array" => format!("{range}items, each once"),
        "integer" if range.is_empty() => "a whole number".to_owned(),
        "integer" => format!("a whole number, {}", range.trim_end()),
        "boolean" => "true or false".to_owned(),
        "object" => "an object".to_owned(),
        "null" => "nothing: leave it out".to_owned(),
        _ => "a value as documented".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shapes() -> Shapes {
        Shapes::of(&json!({ "components": { "schemas": {
            "Pet": {
                "type": "object",
                "required": ["name", "age"],
                "additionalProperties": false,
                "properties": {
                    "name": { "type": "string", "minLength": 1, "maxLength": 3, "pattern": "^[a-z]*$",
                              "description": "small letters" },
                    "age": { "type": "integer", "minimum": 0, "maximum": 9 },
                    "tags": { "type": ["array", "null"], "maxItems": 2, "uniqueItems": true,
                              "items": { "$ref": "#/components/schemas/Tag" } },
                    "owner": { "oneOf": [{ "type": "null" }, { "$ref": "#/components/schemas/Owner" }] },
                },
            },
            "Tag": { "type": "string", "enum": ["a", "b"] },
            "Owner": { "type": "object", "required": ["id"], "properties": { "id": { "type": "integer" } } },
        }}}))
        .unwrap()
    }

    #[track_caller]
    fn check(value: &Value, fields: &[&str]) {
        let wrong = shapes().check("Pet", value);
        let found: Vec<_> = wrong.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(found, fields, "{wrong:?}");
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        check(&json!({ "name": "abc", "age": 3 }), &[]);
        check(&json!({ "name": "abc", "age": 3, "tags": null, "owner": null }), &[]);
        check(&json!({ "name": "abc", "age": 3, "tags": ["a", "b"], "owner": { "id": 1 } }), &[]);
        check(&json!({}), &["name", "age"]);
        check(&json!({ "name": "ABC", "age": 10 }), &["age", "name"]);
        check(&json!({ "name": "", "age": 1.5 }), &["age", "name"]);
        check(&json!({ "name": 1, "age": "1", "more": 1 }), &["age", "more", "name"]);
        check(&json!({ "name": "abc", "age": 3, "tags": ["c"] }), &["tags[0]"]);
        check(&json!({ "name": "abc", "age": 3, "tags": ["a", "a"] }), &["tags"]);
        check(&json!({ "name": "abc", "age": 3, "owner": {} }), &["owner.id"]);
        check(&json!([]), &[""]);
    }

    #[test]
    fn of_properties_that_go_together_the_one_that_does_not_is_named() {
        let shapes = Shapes::of(&json!({ "components": { "schemas": { "Door": {
            "type": "object",
            "required": ["lock"],
            "properties": {
                "lock": { "type": "string", "enum": ["open", "key", "code"] },
                "code": { "type": ["string", "null"], "maxLength": 3 },
                "size": { "type": "integer" },
            },
            "oneOf": [
                { "properties": { "lock": { "enum": ["open", "key"] }, "code": { "type": "null" } } },
                { "properties": { "lock": { "const": "code" }, "code": { "type": "string" } }, "required": ["code"] },
            ],
        } } } }))
        .unwrap();
        let check = |value: Value| shapes.check("Door", &value);
        assert_eq!(check(json!({ "lock": "code", "code": "1" })), []);
        assert_eq!(check(json!({ "lock": "open" })), []);
        assert_eq!(check(json!({ "lock": "code" })), [("code".into(), "a text (it is missing)".into())]);
        let too_much = ("code".into(), "nothing: leave it out".into());
        assert_eq!(check(json!({ "lock": "key", "code": "1" })), [too_much]);
        let unknown = ("lock".into(), r#"one of "open", "key", "code""#.into());
        assert_eq!(check(json!({ "lock": "Open" })), [unknown]);
        let names = |value| check(value).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(json!({ "lock": "code", "code": "1234", "size": "x" })), ["code", "size"]);
    }

    #[test]
    fn expectations_are_told_in_words() {
        let wrong = shapes().check("Pet", &json!({ "name": "ABC", "age": 10 }));
        assert_eq!(wrong[0].1, "a whole number, 0 to 9");
        assert_eq!(wrong[1].1, "1 to 3 characters: small letters");
    }
}
