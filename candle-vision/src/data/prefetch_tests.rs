use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;

use super::*;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn numbers(workers: usize, range: Range<usize>) -> PrefetchIter<usize, LoaderError> {
    let make = |number: usize, _: &AtomicBool| Ok(square(number));
    Prefetcher::new(workers).unwrap().start(3, range, make).unwrap()
}

fn square(number: usize) -> usize {
    assert_ne!(number, 7, "seven is too much");
    number * number
}

/// Waits until something holds.
fn until(holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "it never held");
        std::thread::yield_now();
    }
}

#[test]
fn batches_come_in_order_from_any_threads() {
    for workers in [0, 1, 3] {
        let mut batches = numbers(workers, 2..6);
        assert_eq!((batches.size_hint(), batches.waited()), ((0, Some(4)), Duration::ZERO));
        assert_eq!(batches.next().unwrap().unwrap(), 4);
        assert_eq!(batches.size_hint(), (0, Some(3)));
        assert_eq!(batches.by_ref().map(Result::unwrap).collect::<Vec<_>>(), [9, 16, 25]);
        assert!(batches.waited() > Duration::ZERO);
        assert_eq!((batches.size_hint(), batches.next().is_none()), ((0, Some(0)), true));
        assert_eq!(numbers(workers, 6..6).count(), 0);
    }
}

#[test]
fn iterators_run_ahead_in_order() {
    let squares = (0..5).map(|number| Ok::<_, LoaderError>(square(number)));
    let values: Vec<usize> = PrefetchIter::spawn(squares).unwrap().map(Result::unwrap).collect();
    assert_eq!(values, [0, 1, 4, 9, 16]);
    let borrowed = [3, 2, 1];
    let values: Vec<usize> = std::thread::scope(|scope| {
        let items = borrowed.iter().map(|number| Ok::<_, LoaderError>(square(*number)));
        PrefetchIter::spawn_scoped(scope, items).unwrap().map(Result::unwrap).collect()
    });
    assert_eq!(values, [9, 4, 1]);
}

#[test]
fn a_panic_is_the_last_batch() {
    for workers in [0, 2] {
        let mut batches = numbers(workers, 6..20);
        assert_eq!(batches.next().unwrap().unwrap(), 36);
        let text = batches.next().unwrap().unwrap_err().to_string();
        assert!(text.starts_with("making batch 7 of epoch 3 failed: ") && text.contains("seven is too"), "{text}");
        assert!(batches.next().is_none());
    }
    let squares = (6..20).map(|number| Ok::<_, LoaderError>(square(number)));
    let mut values = PrefetchIter::spawn(squares).unwrap();
    assert_eq!(values.next().unwrap().unwrap(), 36);
    let text = values.next().unwrap().unwrap_err().to_string();
    assert!(text.starts_with("making batch 1 failed: ") && text.contains("seven is too"), "{text}");
    assert!(values.next().is_none());
}

#[test]
fn an_error_is_the_last_value() {
    let reason = || LoaderError::Threads { reason: "none are left".to_owned() };
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let items = (0..9).map(move |number| {
        counted.fetch_add(1, Ordering::SeqCst);
        if number == 2 { Err(reason()) } else { Ok(number) }
    });
    let values: Vec<Result<usize, LoaderError>> = PrefetchIter::spawn(items).unwrap().collect();
    assert_eq!(values.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(made.load(Ordering::SeqCst), 3, "nothing is made behind it");
}

#[test]
fn few_values_wait() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = || {
        let made = made.clone();
        move |number: usize| {
            made.fetch_add(1, Ordering::SeqCst);
            Ok::<_, LoaderError>(number)
        }
    };
    // Those that wait, and one that waits to join them.
    let check = |values: &mut dyn Iterator<Item = Result<usize, LoaderError>>, most: usize| {
        for taken in 0..4 {
            until(|| made.load(Ordering::SeqCst) == taken + most);
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(made.load(Ordering::SeqCst), taken + most, "after {taken} values");
            assert_eq!(values.next().unwrap().unwrap(), taken);
        }
    };
    let make = count();
    let mut batches = Prefetcher::new(2).unwrap().start(0, 0..100, move |number, _| make(number)).unwrap();
    check(&mut batches, PREFETCH + 1);
    drop(batches);
    made.store(0, Ordering::SeqCst);
    check(&mut PrefetchIter::spawn((0..100).map(count())).unwrap(), WAITING + 1);
}

#[test]
fn an_epoch_that_is_left_ends_its_work() {
    let held = Arc::new(());
    for taken in 0..3 {
        let kept = held.clone();
        let make = move |number: usize, _: &AtomicBool| {
            let _ = &kept;
            Ok::<_, LoaderError>(number)
        };
        let mut batches = Prefetcher::new(2).unwrap().start(0, 0..100, make).unwrap();
        batches.by_ref().take(taken).for_each(|batch| assert!(batch.is_ok()));
        drop(batches);
        assert_eq!(Arc::strong_count(&held), 1, "after {taken} batches nothing holds the work");
    }
}

#[test]
fn an_iterator_that_is_left_ends_and_is_not_waited_for() {
    let held = Arc::new(());
    let (kept, (sender, stream)) = (held.clone(), mpsc::channel());
    let items = std::iter::from_fn(move || {
        let _ = &kept;
        stream.recv().ok().map(Ok::<usize, LoaderError>)
    });
    let mut values = PrefetchIter::spawn(items).unwrap();
    sender.send(1).unwrap();
    assert_eq!(values.next().unwrap().unwrap(), 1);
    // The thread waits for the stream now, and this does not wait for the thread.
    drop(values);
    assert_eq!(Arc::strong_count(&held), 2);
    sender.send(2).unwrap();
    until(|| Arc::strong_count(&held) == 1);
}

#[test]
fn a_scope_is_left_with_values_waiting() {
    let values = std::thread::scope(|scope| {
        let mut values = PrefetchIter::spawn_scoped(scope, (0..100).map(Ok::<_, LoaderError>)).unwrap();
        values.next().unwrap().unwrap()
    });
    assert_eq!(values, 0);
}
