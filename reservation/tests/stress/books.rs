//! Many games of members, operators, time and a moody payment company.

use slotcast_reservation_testing::books::play;

#[tokio::test]
async fn whatever_happens_in_many_games_each_hold_ends_once_and_the_books_are_right() {
    play(4..=40).await;
}
