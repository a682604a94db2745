//! Log-ins that are under way while the member changes: none of them outlives what the member decided.

use std::{net::IpAddr, sync::Arc};

use slotcast_reservation::{
    domain::{member::Member, refusal::Refusal},
    service::{LoggedIn, OperatorEdit, Registration, ServiceError},
};
use tokio::task::JoinHandle;

use crate::service::*;

const OLD: &str = "correct horse";
const NEW: &str = "battery staple";

fn here() -> IpAddr {
    "192.0.2.7".parse().unwrap()
}

async fn register(world: &World) -> Member {
    let registration = Registration {
        user_id: "taro".to_owned(),
        name: "Taro".to_owned(),
        reading: "Taro".to_owned(),
        email: "taro@example.com".to_owned(),
        password: OLD.to_owned(),
        ..Registration::default()
    };
    world.service.register(registration, here()).await.unwrap()
}

/// A log-in whose password was found right, and that waits before it writes its session.
async fn half_logged_in(world: &World) -> (Arc<Gate>, JoinHandle<Result<LoggedIn, ServiceError>>) {
    let gate = Arc::new(Gate::default());
    *world.before_write.lock() = Some(Arc::clone(&gate));
    let service = world.service.clone();
    let log_in = tokio::spawn(async move { service.log_in("taro", OLD, here()).await });
    gate.entered.notified().await;
    (gate, log_in)
}

/// A log-in that read the member before the password was changed, or the member blocked, begins no session after it.
pub async fn a_log_in_that_is_overtaken_begins_no_session(world: World) {
    let member = register(&world).await;
    let session = world.service.log_in("taro", OLD, here()).await.unwrap();
    let actor = world.service.actor_of_session(&session.token).await.unwrap();

    let (gate, late) = half_logged_in(&world).await;
    world.service.change_password(&actor, OLD, NEW).await.unwrap();
    gate.go.notify_one();
    assert_eq!(refusal(late.await.unwrap()), Refusal::WrongLogIn);
    world.service.actor_of_session(&session.token).await.unwrap();

    world.service.change_password(&actor, NEW, OLD).await.unwrap();
    let (gate, late) = half_logged_in(&world).await;
    let block = OperatorEdit { is_blocked: Some(true), ..OperatorEdit::default() };
    world.service.edit_member(&world.actor(4).await, member.number, None, block).await.unwrap();
    gate.go.notify_one();
    assert_eq!(refusal(late.await.unwrap()), Refusal::Blocked);
}

/// Log-ins with the old password from every side while it is changed: of those that began, none is left.
pub async fn no_log_in_by_the_old_password_outlives_its_change(world: World) {
    register(&world).await;
    let session = world.service.log_in("taro", OLD, here()).await.unwrap();
    let actor = world.service.actor_of_session(&session.token).await.unwrap();
    let log_ins: Vec<_> = (0..12)
        .map(|_| {
            let service = world.another_service();
            tokio::spawn(async move { service.log_in("taro", OLD, here()).await })
        })
        .collect();
    world.service.change_password(&actor, OLD, NEW).await.unwrap();
    for log_in in log_ins {
        match log_in.await.unwrap() {
            Ok(begun) => {
                let left = world.service.actor_of_session(&begun.token).await;
                assert_eq!(refusal(left), Refusal::NotLoggedIn);
            }
            Err(error) => assert_eq!(refusal::<()>(Err(error)), Refusal::WrongLogIn),
        }
    }
    world.service.actor_of_session(&session.token).await.unwrap();
}
