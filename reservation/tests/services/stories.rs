//! The stories that `it` tells over SQLite, over PostgreSQL.

use slotcast_reservation_testing::{
    http::{Server, Wishes},
    log_ins,
    race::race,
    service::{World, rules, wall},
    whole_life::whole_life,
};
use slotcast_testing::postgres;

#[tokio::test(flavor = "multi_thread")]
async fn a_program_lives_by_http_alone_on_postgresql() {
    let Some(postgres) = postgres::shared() else { return };
    let database = Some(postgres.new_database());
    whole_life(Server::start_as(Wishes { database, ..Wishes::default() }).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_at_once_do_each_thing_once_on_postgres() {
    let Some(postgres) = postgres::shared() else { return };
    let place = postgres.new_database();
    race(World::at(&place, rules(), wall("2026-12-01T12:00:00Z")).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_ins_do_not_outlive_a_password_change_on_postgres() {
    let Some(postgres) = postgres::shared() else { return };
    let world = async || World::at(&postgres.new_database(), rules(), wall("2026-12-01T12:00:00Z")).await;
    log_ins::a_log_in_that_is_overtaken_begins_no_session(world().await).await;
    log_ins::no_log_in_by_the_old_password_outlives_its_change(world().await).await;
}
