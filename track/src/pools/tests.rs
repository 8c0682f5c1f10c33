use super::*;
use crate::detection::Detection;
use crate::kalman::BoxForm;

fn seen(left: f32) -> Observation {
    let detection = Detection { class_id: 0, confidence: 0.5, xyxy: [left, 0.0, left + 50.0, 100.0] };
    Observation::new(0, &detection).unwrap()
}

fn start(pools: &mut Pools<()>, left: f32, frame: u64, changes: &mut Changes) {
    pools.start(|id| Tracklet::new(id, BoxForm::Xywh, &seen(left), frame, ()), changes);
}

/// Identities of the tracked and of the lost objects.
fn ids(pools: &Pools<()>) -> (Vec<u64>, Vec<u64>) {
    let ids: Vec<u64> = pools.tracklets.iter().map(|tracklet| tracklet.id).collect();
    let (tracked, lost) = ids.split_at(pools.tracked);
    (tracked.to_vec(), lost.to_vec())
}

/// Object 1 is seen up to frame `last`, object 2 from frame `first` on, both in the same place in frame `last` + 1.
fn meeting(last: u64, first: u64) -> (Vec<u64>, Vec<u64>) {
    let mut pools = Pools::new();
    for frame in 1..=last + 1 {
        let changes = &mut Changes::default();
        for place in 0..pools.tracklets.len() {
            if place == 0 && frame > last {
                pools.lose(0, changes);
            } else {
                pools.update(place, &seen(0.0), frame, None, changes);
            }
        }
        for _ in [1, first].iter().filter(|begins| **begins == frame) {
            start(&mut pools, 0.0, frame, changes);
        }
        pools.finish(std::mem::take(changes));
    }
    ids(&pools)
}

#[test]
fn of_a_tracked_and_a_lost_object_in_one_place_the_one_that_was_followed_for_longer_stays() {
    assert_eq!(meeting(4, 1), (vec![2], vec![]), "1 was followed for three frames, 2 for four");
    assert_eq!(meeting(4, 2), (vec![], vec![1]), "2 was followed for three, too: the lost one stays");
    assert_eq!(meeting(4, 3), (vec![], vec![1]), "2 was followed for two");
}

#[test]
fn objects_in_different_places_all_stay() {
    let mut pools = Pools::new();
    let changes = &mut Changes::default();
    start(&mut pools, 0.0, 1, changes);
    pools.finish(std::mem::take(changes));
    pools.lose(0, changes);
    start(&mut pools, 5.0, 2, changes);
    pools.finish(std::mem::take(changes));
    assert_eq!(ids(&pools), (vec![2], vec![1]), "an overlap of 45 in 55");
}

#[test]
fn an_object_that_is_given_up_can_be_found_in_the_next_frame_but_not_be_lost_again() {
    let mut pools = Pools::new();
    let changes = &mut Changes::default();
    start(&mut pools, 0.0, 1, changes);
    pools.finish(std::mem::take(changes));
    pools.lose(0, changes);
    pools.finish(std::mem::take(changes));
    pools.remove_stale(10, 9, changes);
    assert!(changes.removed.is_empty(), "nine frames are in the buffer");
    pools.remove_stale(11, 9, changes);
    pools.finish(std::mem::take(changes));
    assert_eq!(ids(&pools), (vec![], vec![1]));

    let mut other = pools.clone();
    other.finish(Changes::default());
    assert_eq!(ids(&other), (vec![], vec![]), "not found in the next frame");

    pools.update(0, &seen(0.0), 12, None, changes);
    pools.finish(std::mem::take(changes));
    assert_eq!(ids(&pools), (vec![1], vec![]));
    pools.lose(0, changes);
    pools.finish(std::mem::take(changes));
    assert_eq!(ids(&pools), (vec![], vec![]));
}

#[test]
fn the_last_thousand_removals_are_remembered() {
    let mut removed = RemovedIds::default();
    removed.push(7);
    removed.push(7);
    (100..1098).for_each(|id| removed.push(id));
    assert!(removed.contains(7) && removed.contains(100));
    removed.push(1098);
    assert!(removed.contains(7), "one of two is left");
    removed.push(1099);
    assert!(!removed.contains(7) && removed.contains(100));
    assert_eq!((removed.order.len(), removed.count.len()), (REMOVED, REMOVED));
}
