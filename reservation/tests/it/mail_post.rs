//! Handing mails on: into a folder, and to servers that are not there or say nothing.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use slotcast_reservation::{
    domain::effects::MailKind,
    mail::{Folder, Post, PostError, Smtp},
};
use slotcast_reservation_testing::letters::{message_to, smtp_settings};

#[tokio::test]
async fn a_folder_keeps_each_mail_once_and_for_its_owner_alone() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("data/mail");
    let folder = Folder::open(&path).unwrap();
    let (message, key) = message_to("friend@example.net", MailKind::Invitation);
    // Left by a crash.
    fs::write(path.join(format!(".{key}.draft")), "half").unwrap();
    let many = (0..8).map(|_| {
        let (folder, message, key) = (folder.clone(), message.clone(), key.clone());
        tokio::spawn(async move { folder.send(&message, &key).await })
    });
    for sent in many.collect::<Vec<_>>() {
        sent.await.unwrap().unwrap();
    }
    let files: Vec<_> = fs::read_dir(&path).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files, [path.join(format!("{key}.eml"))]);
    assert_eq!(fs::read(&files[0]).unwrap(), message.formatted());
    assert_eq!(fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);

    // A repeat, rendered later, changes nothing.
    let (other, _) = message_to("other@example.net", MailKind::Invitation);
    folder.send(&other, &key).await.unwrap();
    assert_eq!(fs::read(&files[0]).unwrap(), message.formatted());
}

#[tokio::test]
async fn a_folder_refuses_keys_that_are_paths_and_waits_for_a_lost_folder() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(&place.path().join("mail")).unwrap();
    let (message, key) = message_to("friend@example.net", MailKind::Invitation);
    for bad in ["", "../up", "a/b", "..", "A", "a\0b", &"a".repeat(201)] {
        assert!(matches!(folder.send(&message, bad).await, Err(PostError::Permanent(_))), "{bad}");
    }
    fs::remove_dir(place.path().join("mail")).unwrap();
    assert!(matches!(folder.send(&message, &key).await, Err(PostError::Temporary(_))));
    fs::create_dir(place.path().join("mail")).unwrap();
    folder.send(&message, &key).await.unwrap();
    folder.send(&message, &"a".repeat(200)).await.unwrap();
}

#[tokio::test]
async fn nobody_there_is_temporary() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let smtp = Smtp::new(&smtp_settings(format!("smtp://127.0.0.1:{port}"))).unwrap();
    let (message, key) = message_to("friend@example.net", MailKind::Invitation);
    let Err(PostError::Temporary(text)) = smtp.send(&message, &key).await else { panic!() };
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_costs_bounded_time() {
    // It accepts and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut short = smtp_settings(format!("smtp://127.0.0.1:{port}"));
    short.timeout = Duration::from_millis(300);
    let (message, key) = message_to("friend@example.net", MailKind::Invitation);
    let sent = Smtp::new(&short).unwrap().send(&message, &key).await;
    assert!(matches!(sent, Err(PostError::Temporary(_))), "{sent:?}");
}
