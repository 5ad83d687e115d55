//! Watchers who look through views: what is encoded for whom, and how often.

use super::*;
use crate::view::{Definition, compile};

/// A view that passes the event `note` on when `has_notes`.
fn view(has_notes: bool) -> Arc<View> {
    let events = if has_notes {
        "[events]\nnote = 'n'\n"
    } else {
        ""
    };
    let text = format!(
        "kinds = ['k']\nevent = 'x'\n{events}[[paths]]\nstream = '/x/{{id}}'\n[fields]\ndone = 'processed_count'\n"
    );
    let definition = Definition {
        name: "mine".to_owned(),
        table: text.parse().expect("TOML"),
        origin: "the test".to_owned(),
    };
    let views = compile(&[definition]).expect("a view that is right");
    Arc::clone(views.iter().next().expect("one view"))
}

/// What waits for a watcher.
fn blocks(live: &Subscription) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let _ = live.poll_receive(&mut Context::from_waker(Waker::noop()), &mut frames);
    frames.into_iter().map(|frame| frame.bytes).collect()
}

#[test]
fn a_change_is_encoded_once_for_each_view_that_somebody_uses() {
    let mut writer = Writer::new();
    let (one, two) = (view(false), view(true));
    let join = |view| writer.hub.join_through(Some(view)).1;
    let (first, second, other) = (join(&one), join(&one), join(&two));
    let native = writer.hub.join().1;
    let _ = writer.report(0, json!({"processed_count": 1}));
    let (first, second, other) = (blocks(&first), blocks(&second), blocks(&other));
    assert_eq!(first[0].as_ptr(), second[0].as_ptr(), "the very same bytes");
    assert_eq!(first, other);
    assert_ne!(first[0].as_ptr(), other[0].as_ptr());
    assert_eq!(first[0], "event: x\ndata: {\"done\":1}\nid: 2\n\n");
    assert!(blocks(&native)[0].starts_with(b"event: status\n"));
}

#[test]
fn natively_nothing_is_encoded_for_those_who_look_through_views() {
    let mut writer = Writer::new();
    let view = view(false);
    let (snapshot, through) = writer.hub.join_through(Some(&view));
    assert_eq!(snapshot.data.as_deref(), Some(&b"{\"done\":null}"[..]));
    let _ = writer.report(0, json!({"processed_count": 1}));
    // An event that the view does not pass on is no frame at all while nobody else watches.
    let _ = writer.event(10);
    let native = |hub: &Hub| {
        let shown = |shown: &mut Shown, _| shown.status_frame(false, Instant::now());
        hub.channel.with(shown).native.bytes
    };
    assert_eq!(native(&writer.hub), "");
    assert_eq!(blocks(&through).len(), 1);
    let joined = writer.hub.join().1;
    let _ = writer.event(20);
    assert_eq!(received(&joined), [(FrameKind::Event, 4, true)]);
    assert_eq!(blocks(&through), [Bytes::new()]);
}

#[test]
fn ids_rise_in_each_vocabulary_by_itself() {
    let mut writer = Writer::new();
    let (quiet, telling) = (view(false), view(true));
    let quiet = writer.hub.join_through(Some(&quiet)).1;
    let telling = writer.hub.join_through(Some(&telling)).1;
    let _ = writer.report(0, json!({"processed_count": 1}));
    let _ = writer.report(10, json!({"processed_count": 2}));
    let _ = writer.event(20);
    writer.hub.flush(writer.at(1_000));
    let ids = |live| {
        let text = |block: &Bytes| as_text(block).contains("\nid: ");
        let blocks = blocks(live);
        blocks
            .iter()
            .filter(|block| !block.is_empty())
            .map(text)
            .collect::<Vec<_>>()
    };
    // Who has seen the event must not be told its seq once more.
    assert_eq!(ids(&telling), [true, true, false]);
    assert_eq!(ids(&quiet), [true, true]);
}

#[test]
fn a_view_that_its_last_watcher_has_left_costs_nothing_any_more() {
    let mut writer = Writer::new();
    let view = view(true);
    let native = writer.hub.join().1;
    let through = writer.hub.join_through(Some(&view)).1;
    drop(through);
    assert_eq!(
        writer.hub.channel.with(|shown, _| shown.lenses.readers()),
        0
    );
    assert_eq!(Arc::strong_count(&view), 1);
    let _ = writer.event(0);
    assert_eq!(received(&native), [(FrameKind::Event, 2, true)]);
}
