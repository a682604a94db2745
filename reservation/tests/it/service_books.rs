//! Members, operators, time and a moody payment company at random: in the end the books are right.

use slotcast_reservation_testing::books::play;

/// A few games; `stress` plays more.
#[tokio::test]
async fn whatever_happens_each_hold_ends_once_and_the_books_are_right() {
    play(1..=3).await;
}
