//! What only the SQLite store promises: survival of kill -9, copies while it runs, private files.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use slotcast_core::time::WallTime;
use slotcast_reservation::{
    domain::words::{MemberNumber, ReservationNumber},
    store::{self, Page, Store, StoreError, Stored, sqlite::SqliteStore},
    vault::Vault,
};
use slotcast_reservation_testing::{clock::HandClock, values};
use tempfile::TempDir;

const ALL: Page = Page { offset: 0, limit: 1_000_000 };
/// Names the database to the child of [`what_was_confirmed_survives_kill_9`].
const CHILD_PLACE: &str = "SLOTCAST_TEST_KILLED_STORE";
/// Names the database to the child of [`a_disk_that_takes_no_more_refuses_and_is_used_again_later`].
const LIMITED_PLACE: &str = "SLOTCAST_TEST_LIMITED_STORE";
/// Times that the child is killed.
const KILLS: i64 = 8;
/// Bookings that one child makes at most.
const BOOKINGS_MAX: i64 = 100_000;

async fn open(path: &Path) -> Stored<SqliteStore> {
    SqliteStore::open(path, Vault::new(&[7; 32]), HandClock::at(WallTime::from_micros(0)).clock()).await
}

async fn new_store() -> (TempDir, PathBuf, Arc<SqliteStore>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("slotcast.db");
    let store = Arc::new(open(&path).await.unwrap());
    let mut tx = store.begin().await.unwrap();
    tx.add_member(&values::member(1)).await.unwrap();
    tx.put_channel(&values::channel(1)).await.unwrap();
    tx.commit().await.unwrap();
    (directory, path, store)
}

async fn book(store: &SqliteStore, number: i64) -> Stored<()> {
    let mut tx = store.begin().await?;
    let mut effects = values::booking(values::reservation(number, 3 * number, 3));
    effects.mails = vec![values::mail(&format!("mail.{number}"), Some(number))];
    tx.write(&effects).await?;
    tx.commit().await
}

/// How many reservations there are; each with all its slots and its mail.
async fn count_whole(store: &dyn Store) -> u32 {
    let mut reads = store.read().await.unwrap();
    let count = reads.reservations(&store::ReservationFilter::default(), ALL).await.unwrap().count;
    let (from, to) = (WallTime::from_micros(i64::MIN), WallTime::from_micros(i64::MAX));
    assert_eq!(reads.slots_of(MemberNumber(1), from, to).await.unwrap(), 3 * count);
    assert_eq!(reads.outbox_depth().await.unwrap().mails, count);
    count
}

/// The child: books without end, and prints each number once it is confirmed.
#[tokio::test]
#[ignore = "the child of another test"]
async fn a_child_that_is_killed() {
    let place = env::var(CHILD_PLACE).unwrap();
    let store = open(Path::new(&place)).await.unwrap();
    let first = i64::from(count_whole(&store).await) + 1;
    for number in first..first + BOOKINGS_MAX {
        book(&store, number).await.unwrap();
        println!("booked {number}");
    }
}

#[tokio::test]
async fn what_was_confirmed_survives_kill_9() {
    let (_directory, path, store) = new_store().await;
    store.close().await;
    let mut confirmed = 0;
    for round in 1..=KILLS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "store_sqlite::a_child_that_is_killed", "--nocapture"])
            .env(CHILD_PLACE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        // The harness prints before the first number on the same line.
        let numbers = lines.filter_map(|line| line.split_once("booked ")?.1.parse::<i64>().ok());
        let mut left = 5 * round;
        for number in numbers {
            confirmed = number;
            left -= 1;
            if left == 0 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(left <= 0, "the child ended by itself");
        let store = open(&path).await.unwrap();
        let kept = i64::from(count_whole(&store).await);
        // One more may have been committed and not printed any more.
        assert!((confirmed..=confirmed + 1).contains(&kept), "confirmed {confirmed}, kept {kept}");
        let mut reads = store.read().await.unwrap();
        assert!(reads.reservation(ReservationNumber(confirmed)).await.unwrap().is_some());
        drop(reads);
        store.close().await;
    }
}

/// The child: books until its files may not grow any more, then again once they may.
#[tokio::test]
#[ignore = "the child of another test"]
async fn a_child_whose_files_may_not_grow() {
    let place = env::var(LIMITED_PLACE).unwrap();
    let store = open(Path::new(&place)).await.unwrap();
    let (mut number, mut refused) = (0, 0);
    while refused < 5 && number < BOOKINGS_MAX {
        number += 1;
        match book(&store, number).await {
            Ok(()) => assert_eq!(refused, 0),
            Err(StoreError::Broken(_)) => refused += 1,
            other => panic!("{other:?}"),
        }
        assert_eq!(i64::from(count_whole(&store).await), number - refused);
    }
    assert_eq!(refused, 5);
    let pid = std::process::id().to_string();
    assert!(Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status().unwrap().success());
    book(&store, number).await.unwrap();
    assert_eq!(i64::from(count_whole(&store).await), number - refused + 1);
}

#[tokio::test]
async fn a_disk_that_takes_no_more_refuses_and_is_used_again_later() {
    let (_directory, path, store) = new_store().await;
    store.close().await;
    // A write beyond the limit fails as one to a broken disk does; in blocks of 512 bytes.
    let script = "trap '' XFSZ; ulimit -S -f 900; exec \"$0\" --ignored --exact \
                  store_sqlite::a_child_whose_files_may_not_grow";
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(env::current_exe().unwrap())
        .env(LIMITED_PLACE, &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_while_others_write_is_whole() {
    let (directory, _path, store) = new_store().await;
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut number = 0;
            loop {
                number += 1;
                match book(&store, number).await {
                    Ok(()) => (),
                    Err(_) => return number - 1,
                }
            }
        })
    };
    let mut before = 0;
    for copy in 0..5 {
        // Each copy has at least what was confirmed before it began.
        while count_whole(&*store).await < before + 3 {
            tokio::task::yield_now().await;
        }
        before = count_whole(&*store).await;
        let to = directory.path().join(format!("copy{copy}.db"));
        store.back_up(&to).await.unwrap();
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        let copied = open(&to).await.unwrap();
        assert!(count_whole(&copied).await >= before);
        book(&copied, 1_000_000).await.unwrap();
        copied.close().await;
        let again = store.back_up(&to).await.unwrap_err().to_string();
        assert!(again.contains("copy") && again.contains("exists"), "{again}");
    }
    store.close().await;
    assert!(writer.await.unwrap() >= i64::from(before));
}

#[tokio::test]
async fn a_copy_that_cannot_be_made_leaves_no_file() {
    let (directory, path, store) = new_store().await;
    store.back_up(&directory.path().join("none/copy.db")).await.unwrap_err();
    store.close().await;
    fs::write(&path, "x".repeat(5000)).unwrap();
    let to = directory.path().join("copy.db");
    store.back_up(&to).await.unwrap_err();
    assert!(!to.exists());
}

#[tokio::test]
async fn the_files_are_their_owners_alone() {
    let (directory, _path, store) = new_store().await;
    book(&store, 1).await.unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
        seen += 1;
    }
    assert_eq!(seen, 3, "the file, its log, the log's index");
}

#[tokio::test]
async fn what_is_no_database_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("notes.txt");
    fs::write(&text, "some notes\n".repeat(500)).unwrap();
    for path in [&text, &directory.path().join("missing/slotcast.db"), &directory.path().to_owned()] {
        let Err(StoreError::Broken(why)) = open(path).await else { panic!("{path:?}") };
        assert!(why.contains(path.to_str().unwrap()), "{why}");
    }
    assert_eq!(fs::read(&text).unwrap(), "some notes\n".repeat(500).as_bytes());
}
