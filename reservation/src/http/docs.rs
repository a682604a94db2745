//! The OpenAPI document as a page for people: one HTML text without script, style inside, for phones and keyboards.

use std::fmt::Write;

use serde_json::Value;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--link:light-dark(#0645ad,#8ab4f8)}\
body{font:1rem/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem;overflow-wrap:anywhere}\
a{color:var(--link)}a:focus-visible,summary:focus-visible{outline:3px solid var(--link);outline-offset:2px}\
code,pre{font:.9em ui-monospace,monospace}pre{background:var(--soft);padding:.75rem;overflow-x:auto}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}\
th,td{border-bottom:1px solid var(--line);padding:.35rem .5rem;text-align:left;vertical-align:top}\
th{overflow-wrap:break-word}\
section>article{border-top:2px solid var(--line);padding-top:.5rem;margin-top:1.5rem}\
.method{display:inline-block;min-width:4.5em;font-weight:700}nav ul{padding-left:1.2rem}\
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem}small{opacity:.8}";

/// The whole page.
pub(super) fn page(document: &Value) -> String {
    let mut page = String::with_capacity(256 * 1024);
    let title = text(&document["info"]["title"]);
    page.push_str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    page.push_str(&format!("<title>{title} API</title><style>{STYLE}</style></head><body>"));
    page.push_str("<a class=\"skip\" href=\"#content\">Skip to the content</a>");
    page.push_str(&format!("<header><h1>{title} API</h1>"));
    page.push_str(&format!("<p>{}</p>", prose(&document["info"]["description"])));
    page.push_str("<p><a href=\"openapi.json\">This as OpenAPI 3.1</a></p></header>");
    contents(&mut page, document);
    page.push_str("<main id=\"content\">");
    for tag in items(&document["tags"]) {
        page.push_str(&format!("<section><h2 id=\"{}\">{}</h2>", anchor(&tag["name"]), text(&tag["name"])));
        page.push_str(&format!("<p>{}</p>", prose(&tag["description"])));
        for (path, method, operation) in operations(document, &tag["name"]) {
            article(&mut page, path, method, operation);
        }
        page.push_str("</section>");
    }
    schemas(&mut page, &document["components"]["schemas"]);
    page.push_str("</main></body></html>\n");
    page
}

fn operations<'a>(
    document: &'a Value,
    tag: &'a Value,
) -> impl Iterator<Item = (&'a str, &'a str, &'a Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(move |(path, operations)| {
        let operations = operations.as_object().into_iter().flatten();
        operations
            .filter(move |(_, operation)| items(&operation["tags"]).any(|name| name == tag))
            .map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

fn contents(page: &mut String, document: &Value) {
    page.push_str("<nav aria-label=\"Contents\"><h2>Contents</h2><ul>");
    for tag in items(&document["tags"]) {
        page.push_str(&format!("<li><a href=\"#{}\">{}</a><ul>", anchor(&tag["name"]), text(&tag["name"])));
        for (_, _, operation) in operations(document, &tag["name"]) {
            let id = text(&operation["operationId"]);
            page.push_str(&format!("<li><a href=\"#{id}\">{}</a></li>", text(&operation["summary"])));
        }
        page.push_str("</ul></li>");
    }
    page.push_str("<li><a href=\"#schemas\">Schemas</a></li></ul></nav>");
}

fn article(page: &mut String, path: &str, method: &str, operation: &Value) {
    let id = text(&operation["operationId"]);
    page.push_str(&format!("<article><h3 id=\"{id}\">{}</h3>", text(&operation["summary"])));
    page.push_str(&format!(
        "<p><code><span class=\"method\">{}</span> {}</code></p>",
        method.to_uppercase(),
        escaped(path)
    ));
    for paragraph in operation["description"].as_str().unwrap_or_default().split("\n\n") {
        page.push_str(&format!("<p>{}</p>", prose(&Value::from(paragraph))));
    }
    parameters(page, &operation["parameters"]);
    let body = &operation["requestBody"]["content"]["application/json"];
    if body.is_object() {
        page.push_str(&format!(
            "<h4>Body</h4><p><code>application/json</code>: {}</p>",
            kind(&body["schema"])
        ));
    }
    responses(page, &operation["responses"]);
    page.push_str("</article>");
}

fn parameters(page: &mut String, parameters: &Value) {
    if items(parameters).next().is_none() {
        return;
    }
    page.push_str("<h4>Parameters</h4><div class=\"wide\"><table><thead><tr><th scope=\"col\">Name</th>");
    page.push_str("<th scope=\"col\">In</th><th scope=\"col\">What</th></tr></thead><tbody>");
    for parameter in items(parameters) {
        let needed = if parameter["required"] == true { " <small>needed</small>" } else { "" };
        page.push_str(&format!(
            "<tr><th scope=\"row\"><code>{}</code>{needed}</th><td>{}</td><td>{} <small>{}</small></td></tr>",
            text(&parameter["name"]),
            text(&parameter["in"]),
            prose(&parameter["description"]),
            kind(&parameter["schema"]),
        ));
    }
    page.push_str("</tbody></table></div>");
}

fn responses(page: &mut String, responses: &Value) {
    page.push_str("<h4>Answers</h4><div class=\"wide\"><table><thead><tr><th scope=\"col\">Status</th>");
    page.push_str("<th scope=\"col\">What</th></tr></thead><tbody>");
    for (status, response) in responses.as_object().into_iter().flatten() {
        let mut what = prose(&response["description"]);
        for (media_type, content) in response["content"].as_object().into_iter().flatten() {
            if media_type != "application/problem+json" {
                let _ = write!(what, " <small>{}: {}</small>", escaped(media_type), kind(&content["schema"]));
            }
        }
        for (name, _) in response["headers"].as_object().into_iter().flatten() {
            let _ = write!(what, " <small><code>{}</code></small>", escaped(name));
        }
        page.push_str(&format!("<tr><th scope=\"row\">{}</th><td>{what}</td></tr>", escaped(status)));
    }
    page.push_str("</tbody></table></div>");
}

fn schemas(page: &mut String, schemas: &Value) {
    page.push_str("<section><h2 id=\"schemas\">Schemas</h2>");
    for (name, schema) in schemas.as_object().into_iter().flatten() {
        page.push_str(&format!("<article><h3 id=\"schema-{0}\">{0}</h3>", escaped(name)));
        page.push_str(&format!("<p>{}</p>", prose(&schema["description"])));
        match schema["properties"].as_object() {
            Some(properties) => {
                page.push_str("<div class=\"wide\"><table><thead><tr><th scope=\"col\">Item</th>");
                page.push_str("<th scope=\"col\">What</th></tr></thead><tbody>");
                let needed: Vec<_> = items(&schema["required"]).filter_map(Value::as_str).collect();
                for (item, of) in properties {
                    let mark = if needed.contains(&item.as_str()) { " <small>needed</small>" } else { "" };
                    page.push_str(&format!(
                        "<tr><th scope=\"row\"><code>{}</code>{mark}</th><td>{} <small>{}</small></td></tr>",
                        escaped(item),
                        prose(&of["description"]),
                        kind(of),
                    ));
                }
                page.push_str("</tbody></table></div>");
            }
            None => page.push_str(&format!("<p><small>{}</small></p>", kind(schema))),
        }
        if !schema["example"].is_null() {
            let example = serde_json::to_string_pretty(&schema["example"]).unwrap_or_default();
            page.push_str(&format!("<pre tabindex=\"0\">{}</pre>", escaped(&example)));
        }
        page.push_str("</article>");
    }
    page.push_str("</section>");
}

/// What a value must be: type, format, limits, in words and with a link to its schema.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        return format!("<a href=\"#schema-{0}\">{0}</a>", escaped(name));
    }
    if let Some(branches) = schema["oneOf"].as_array().filter(|_| !schema["properties"].is_object()) {
        return branches.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect::<Vec<_>>().join(" or "),
        other => text(other),
    };
    let mut words = types;
    if schema["items"].is_object() {
        let _ = write!(words, " of {}", kind(&schema["items"]));
    }
    if let Some(values) = schema["enum"].as_array() {
        let shown: Vec<_> =
            values.iter().take(12).map(|value| format!("<code>{}</code>", text(value))).collect();
        let more = if values.len() > 12 { format!(" … ({} in all)", values.len()) } else { String::new() };
        let _ = write!(words, ": {}{more}", shown.join(", "));
    }
    for (key, name) in [
        ("format", "format"),
        ("minLength", "at least, in characters:"),
        ("maxLength", "at most, in characters:"),
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("minItems", "items at least:"),
        ("maxItems", "items at most:"),
        ("default", "else"),
    ] {
        if !schema[key].is_null() {
            let _ = write!(words, ", {name} {}", text(&schema[key]));
        }
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let _ = write!(words, ", like <code>{}</code>", escaped(pattern));
    }
    words
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A value as text, safe within HTML.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => escaped(text),
        other => escaped(&other.to_string()),
    }
}

/// A sentence in which `code` stands between backquotes.
fn prose(value: &Value) -> String {
    let safe = text(value);
    let parts = safe.split('`').enumerate();
    parts
        .map(|(at, part)| if at % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() })
        .collect()
}

/// The name of a tag as a place on the page.
fn anchor(value: &Value) -> String {
    let name = value.as_str().unwrap_or_default();
    let safe = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("tag-{}", name.chars().map(safe).collect::<String>())
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_in_the_document_becomes_markup() {
        let document = json!({
            "info": { "title": "<script>", "description": "a `b<c` \"d\"" },
            "tags": [{ "name": "A<b>", "description": "x" }],
            "paths": { "/x/{y}": { "get": { "tags": ["A<b>"], "operationId": "y", "summary": "<i>" } } },
        });
        let page = page(&document);
        assert!(!page.contains("<script>") && !page.contains("<i>") && page.contains("<code>b&lt;c</code>"));
        assert!(page.contains("href=\"#y\"") && page.contains("id=\"y\""));
    }
}
