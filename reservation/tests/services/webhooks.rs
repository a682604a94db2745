//! A delivery over HTTP, read by the library of the Standard Webhooks scheme.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::Arc,
};

use serde_json::{Value, json};
use slotcast_core::time::WallTime;
use slotcast_reservation::{courier::HttpCourier, limits::DELIVERY_WAIT_MAX};
use slotcast_reservation_testing::http::{Server, Wishes};

use crate::python::python_with;

#[tokio::test(flavor = "multi_thread")]
async fn the_schemes_own_library_takes_what_we_sign_and_nothing_else() {
    let Some(python) = python_with("standardwebhooks") else { return };
    let mut receiver = Command::new(python)
        .args(["-u", "-c", include_str!("webhook.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(receiver.stdout.take().unwrap()).lines().map_while(Result::ok);
    let first = lines.next().unwrap();
    let [_, port, micros] = first.split(' ').collect::<Vec<_>>()[..] else { panic!("{first}") };

    let courier = HttpCourier::new(vec!["127.0.0.0/8".parse().unwrap()], DELIVERY_WAIT_MAX).unwrap();
    let server = Server::start_as(Wishes { courier: Arc::new(courier), ..Wishes::default() }).await;
    // The library looks at the time: it is the same for both.
    server.set(&WallTime::from_micros(micros.parse().unwrap()).to_string());
    let operator = server.operator().await;
    let draft = json!({ "url": format!("http://127.0.0.1:{port}/hook"), "note": "Ours" });
    let made = operator.post("/operator/webhooks", &draft).await;
    assert_eq!(made.status, 201, "{made:?}");
    let secret = made.body["secret"].as_str().unwrap();
    writeln!(receiver.stdin.take().unwrap(), "{secret}").unwrap();
    let number = made.body["number"].as_i64().unwrap();
    let tried = operator.post(&format!("/operator/webhooks/{number}/test"), &json!({})).await;
    assert_eq!(tried.status, 202, "{tried:?}");
    assert_eq!(server.service.send_events().await.unwrap(), 1);
    let told: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    receiver.wait().unwrap();

    assert_eq!(told["id"], tried.body["event"]);
    assert_eq!((&told["verified"]["type"], &told["verified"]["id"]), (&"test".into(), &told["id"]));
    for way in ["forged", "changed", "other_id", "another_secret"] {
        assert_eq!(told[way], "No matching signature found", "{way}");
    }
    assert_eq!(told["old"], "Message timestamp too old");

    let sent = operator.get(&format!("/operator/webhooks/{number}/deliveries")).await;
    assert_eq!(sent.body["items"][0]["state"], "done", "{sent:?}");
    let replay = format!("/operator/webhooks/{number}/deliveries/{}/replay", told["id"].as_str().unwrap());
    assert_eq!(operator.post(&replay, &json!({})).await.status, 202);
    let listed = operator.get("/operator/webhooks").await;
    assert_eq!(listed.body["items"][0]["secret"], Value::Null, "it is shown once");
}
