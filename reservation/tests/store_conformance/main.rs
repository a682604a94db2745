//! What every store must do, asked of both databases by the same cases.
//!
//! A case gets a [`World`]: an empty database. Over SQLite each case is a test; over PostgreSQL one test runs them
//! all, on one server.

mod booking;
mod money;
mod opening;
mod outbox;
mod people;
mod races;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::{pin::Pin, sync::Arc};

use support::postgres;
use tokio::{sync::Semaphore, time::Instant};
use world::World;

type Case = fn(Arc<World>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! cases {
    ($($room:ident: $($case:ident)+;)+) => {
        const CASES: &[(&str, Case)] = &[$($((stringify!($case), |world| Box::pin($room::$case(world))),)+)+];

        mod sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$room::$case(super::World::in_a_file().await).await;
                }
            )+)+
        }
    };
}

cases! {
    people:
        members_keep_every_field
        user_ids_and_addresses_are_unique
        an_edit_of_an_older_member_is_refused
        members_are_listed_by_user_id
        sessions_end_by_time_and_by_hand
        a_new_password_ends_other_sessions_and_tokens
        tokens_have_names_and_an_end;
    booking:
        channels_keep_price_and_version
        reservations_keep_every_field
        a_viewers_password_is_sealed
        taken_slots_refuse_the_whole_write
        freed_slots_can_be_taken_again
        a_thousand_slots_are_one_booking
        an_edit_of_an_older_reservation_is_refused
        lists_follow_the_filter
        what_is_due_comes_oldest_first
        the_schedule_has_a_revision
        only_private_slots_count_for_the_month
        runs_add_up_and_samples_stay_apart
        pickups_come_by_position;
    money:
        payments_keep_every_field
        a_settlement_is_written_once
        the_ledger_lists_and_balances
        the_ledger_is_append_only
        the_largest_amounts_add_up
        answers_are_kept_for_a_day
        events_are_seen_once;
    outbox:
        mails_keep_every_field
        a_key_that_exists_refuses_the_whole_write
        a_leased_mail_is_given_to_nobody_else
        mails_are_tried_again_or_given_up
        payments_are_taken_by_kind
        many_takers_never_get_the_same;
    races:
        sixty_four_bookers_share_no_slot
        the_month_limit_holds_among_bookers_at_once
        a_dropped_transaction_leaves_nothing
        a_failed_transaction_is_never_committed
        a_cancelled_booking_is_whole_or_nothing
        a_reader_sees_one_moment
        a_reader_waits_for_no_writer
        revisions_grow_with_every_writer;
    opening:
        another_key_is_refused
        a_newer_schema_is_refused
        opening_again_keeps_everything
        many_open_it_at_once
        texts_are_kept_as_they_are
        what_is_booked_in_stays
        presence_is_noted
        a_nul_is_refused
        the_ends_of_time_are_kept;
}

/// Cases that run at once on the one server.
const AT_ONCE_MAX: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_holds_on_postgresql() {
    let Some(server) = postgres::shared() else { return };
    let places = Arc::new(Semaphore::new(AT_ONCE_MAX));
    let running: Vec<_> = CASES
        .iter()
        .map(|(name, case)| {
            let (address, places) = (server.new_schema(), Arc::clone(&places));
            let running = tokio::spawn(async move {
                let _place = places.acquire().await.unwrap();
                let begun = Instant::now();
                case(World::at(address).await).await;
                println!("{name}: {:?}", begun.elapsed());
            });
            (name, running)
        })
        .collect();
    let mut failed = Vec::new();
    for (name, running) in running {
        if running.await.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
