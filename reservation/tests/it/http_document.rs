//! The API's document is pinned: each change of its shape shows in the difference of `openapi.json`.
//!
//! `SLOTCAST_WRITE_OPENAPI=1 cargo nextest run -p slotcast-reservation -E 'test(http_document)'` writes it anew; a change that
//! users see then also needs a line in CHANGELOG.md.

use std::{fs, path::Path};

use serde_json::Value;
use slotcast_reservation_testing::http::Server;

/// The document without what differs between machines, and each refusal by the codes that it may have.
fn pinned(mut document: Value) -> Value {
    document["servers"] = Value::Null;
    document["info"]["version"] = Value::Null;
    document["components"]["schemas"]["ZoneName"]["enum"] = Value::Null;
    let operations = document["paths"].as_object_mut().unwrap().values_mut();
    for operation in operations.flat_map(|path| path.as_object_mut().unwrap().values_mut()) {
        for (status, response) in operation["responses"].as_object_mut().unwrap() {
            if status.as_str() >= "400" {
                let examples = response.pointer("/content/application~1problem+json/examples");
                *response = examples.unwrap().as_object().unwrap().keys().cloned().collect();
            }
        }
    }
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_the_one_that_is_kept() {
    let server = Server::start().await;
    let document = pinned(server.anybody().get("/openapi.json").await.body);
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/openapi.json");
    if std::env::var_os("SLOTCAST_WRITE_OPENAPI").is_some() {
        fs::write(&place, serde_json::to_string_pretty(&document).unwrap() + "\n").unwrap();
    }
    let kept: Value = serde_json::from_str(&fs::read_to_string(&place).unwrap()).unwrap();
    for part in ["/paths", "/components/schemas"] {
        let parts = |value: &Value| value.pointer(part).unwrap().as_object().unwrap().clone();
        let (known, found) = (parts(&kept), parts(&document));
        for (name, value) in &found {
            let inner = |value: Option<&Value>| value.map(|value| format!("{value:#}"));
            assert_eq!(inner(known.get(name)), inner(Some(value)), "{part} {name} has changed: see the head");
        }
        assert_eq!(known.len(), found.len(), "{part}");
    }
    assert!(kept == document, "the document has changed: see the head of this file");
}
