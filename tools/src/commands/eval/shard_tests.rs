use super::*;
use proptest::prelude::*;

fn subject(total: usize) -> EvalManifest {
    let row = ModelRow {
        name: "m".into(),
        weights: 1,
        param_count: 2,
        img_size: [224; 2],
        crop_pct: 0.875,
        interpolation: "bicubic".into(),
        dtype: "f32".into(),
    };
    EvalManifest {
        data: "d".into(),
        order: "o".into(),
        total,
        num_classes: 3,
        valid_labels: None,
        real_labels: None,
        models: vec![row],
    }
}

/// A finished part whose images have logits made of their number.
fn part(positions: std::ops::Range<usize>, total: usize) -> EvalShard {
    let mut part = EvalShard::new(subject(total), positions.clone());
    for image in positions {
        let logits = [(image % 7) as f32, (image % 5) as f32, (image % 3) as f32];
        part.tallies[0].add(&logits, image % 3, &[image % 3]);
        part.next += 1;
    }
    part
}

fn merge(parts: &[EvalShard]) -> Result<EvalShard> {
    let folder = tempfile::tempdir()?;
    let paths: Vec<PathBuf> = (0..parts.len()).map(|i| folder.path().join(format!("{i}.json"))).collect();
    parts.iter().zip(&paths).try_for_each(|(part, path)| part.write(path))?;
    EvalShard::merge(&paths)
}

proptest! {
    #[test]
    fn parts_in_any_order_are_the_whole(cuts in prop::collection::vec(0..50usize, 0..5), turned in any::<bool>()) {
        let mut bounds = [vec![0, 50], cuts].concat();
        bounds.sort_unstable();
        let mut parts: Vec<EvalShard> = bounds.windows(2).map(|pair| part(pair[0]..pair[1], 50)).collect();
        if turned {
            parts.reverse();
        }
        let merged = merge(&parts).expect("they are the whole");
        prop_assert_eq!(&merged.tallies, &part(0..50, 50).tallies);
        prop_assert_eq!((merged.start, merged.next, merged.end), (0, 50, 50));
    }
}

#[test]
fn parts_that_do_not_make_a_whole_are_refused() {
    let other = |change: fn(&mut EvalManifest)| {
        let mut part = part(5..10, 10);
        change(&mut part.subject);
        part
    };
    let unfinished = {
        let mut part = part(5..7, 10);
        part.end = 10;
        part
    };
    for (second, expected) in [
        (part(6..10, 10), "images 5 to 6 of 10 is missing"),
        (part(4..10, 10), "holds images that another part holds too: 4 to 5"),
        (part(5..9, 10), "images 9 to 10 is missing"),
        (unfinished, "has 3 of its images still to do"),
        (other(|subject| subject.data = "e".into()), "other images or labels"),
        (other(|subject| subject.models[0].weights = 9), "other weights"),
        (other(|subject| subject.valid_labels = Some(vec![1])), "other --valid-labels"),
    ] {
        let error = format!("{:#}", merge(&[part(0..5, 10), second]).expect_err(expected));
        assert!(error.contains(expected), "{error} | {expected}");
    }
    let renamed = other(|subject| subject.models[0].name = "./m".into());
    assert!(merge(&[part(0..5, 10), renamed]).is_ok(), "the same weights by another path");
    let mut forged = part(5..10, 10);
    forged.next = 6;
    let error = format!("{:#}", merge(&[part(0..5, 10), forged]).expect_err("more images than were looked at"));
    assert!(error.contains("is no part of this version"), "{error}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.json");
    std::fs::write(&path, "{}").expect("written");
    assert!(
        format!("{:#}", EvalShard::merge(&[path]).expect_err("no part"))
            .contains("no part that `ghostzoo eval --part`")
    );
}
