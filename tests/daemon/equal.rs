//! Equal requests at the same time are worked on once.

use crate::support::{Connection, Daemon, essence, png, predict};
use dermald::wire::message::Prediction;
use dermald::wire::{Reply, Request};

/// Clients that ask the same, each with its own id.
fn crowd(daemon: &Daemon, picture: [u8; 3], count: u64) -> Vec<Connection> {
    (0..count)
        .map(|id| {
            let mut client = daemon.connect();
            client.send(&Request::Predict(predict(100 + id, png(picture))));
            client
        })
        .collect()
}

fn answers(crowd: Vec<Connection>) -> Vec<Prediction> {
    let answer = |mut client: Connection| match client.receive() {
        Some(Reply::Prediction(prediction)) => prediction,
        other => panic!("{other:?}"),
    };
    crowd.into_iter().map(answer).collect()
}

fn assert_alike(answers: &[Prediction], count: usize) {
    assert_eq!(answers.len(), count);
    for (place, answer) in answers.iter().enumerate() {
        assert_eq!(answer.id, 100 + place as u64, "each has its own id");
        assert_eq!(essence(answer), essence(&answers[0]));
    }
}

/// A daemon whose model takes long, and a client that it works for.
fn busy() -> (Daemon, Connection) {
    let daemon = Daemon::start("unhurried", &[]);
    let mut first = daemon.connect();
    first.send(&Request::Predict(predict(2, png([2, 2, 2]))));
    daemon.until("a run", |status| status["queue"]["running"] == true);
    (daemon, first)
}

#[test]
fn twenty_who_ask_what_is_being_worked_on_join_in() {
    let (daemon, mut first) = busy();
    let crowd = crowd(&daemon, [2, 2, 2], 20);
    assert_alike(&answers(crowd), 20);
    assert!(matches!(first.receive(), Some(Reply::Prediction(_))));
    let status = daemon.status();
    assert_eq!(
        (&status["runs"], &status["coalesced"]),
        (&1.into(), &20.into()),
        "{status}"
    );
    assert_eq!(status["outcomes"]["ok"], 21);
}

#[test]
fn twenty_who_wait_with_the_same_question_are_taken_along() {
    let (daemon, _first) = busy();
    let crowd = crowd(&daemon, [3, 3, 3], 20);
    daemon.until("all wait", |status| status["queue"]["requests"] == 20);
    assert_alike(&answers(crowd), 20);
    let status = daemon.status();
    assert_eq!(
        (&status["runs"], &status["coalesced"]),
        (&2.into(), &19.into()),
        "{status}"
    );
}

#[test]
fn another_question_about_the_same_picture_has_its_own_run() {
    let (daemon, _first) = busy();
    let mut other = daemon.connect();
    let target = Some(0);
    other.predict(dermald::wire::message::Predict {
        target,
        ..predict(3, png([2, 2, 2]))
    });
    assert_eq!(daemon.status()["coalesced"], 0);
}

#[test]
fn work_goes_on_as_long_as_anybody_waits_and_not_longer() {
    let (daemon, first) = busy();
    let crowd = crowd(&daemon, [2, 2, 2], 3);
    daemon.until("all joined", |status| status["queue"]["sharing"] == 4);
    drop(first);
    daemon.until("one has left", |status| {
        status["outcomes"]["cancelled"] == 1
    });
    assert_alike(&answers(crowd), 3);

    let mut last = daemon.connect();
    last.send(&Request::Predict(predict(9, png([9, 9, 9]))));
    daemon.until("a run", |status| status["queue"]["running"] == true);
    let before = daemon.status()["runs"].clone();
    drop(last);
    daemon.until("rest", |status| status["queue"]["running"] == false);
    assert_eq!(daemon.status()["runs"], before, "stopped in the middle");
}
