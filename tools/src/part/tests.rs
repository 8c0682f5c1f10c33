use proptest::prelude::*;
use serde_json::json;

use super::*;

const FORMAT: &str = "ghostzoo test part 1";

fn header(positions: std::ops::Range<usize>, total: usize) -> PartHeader {
    let mut options = Map::new();
    options.insert("conf".into(), decimal(0.7));
    PartHeader {
        format: FORMAT.into(),
        data: "d".into(),
        total,
        start: positions.start,
        end: positions.end,
        model: "m".into(),
        weights: 1,
        options,
        details: json!({ "names": ["a", "b"] }),
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    head: LineHead,
    text: String,
}

/// An item is of as many lines as the remainder of its number by 3, and one more.
fn fill(part: &mut PartWriter, end: usize) -> Result<()> {
    for at in part.next()..end {
        for line in 0..=at % 3 {
            let head = LineHead { at, done: line == at % 3 };
            part.add(&Line { head, text: format!("{at}.{line}") })?;
        }
        part.flush()?;
    }
    Ok(())
}

fn write(path: &Path, positions: std::ops::Range<usize>, total: usize) -> Result<()> {
    let mut part = PartWriter::open(path, &header(positions.clone(), total), false)?;
    fill(&mut part, positions.end)?;
    part.finish()
}

fn texts(paths: &[PathBuf]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for part in merged(paths, FORMAT)? {
        part.each(|line: Line| {
            found.push(line.text);
            Ok(())
        })?;
    }
    Ok(found)
}

proptest! {
    #[test]
    fn a_part_cut_anywhere_goes_on_to_the_same_bytes(share in 0. ..1f64, noise in prop::collection::vec(any::<u8>(), 0..9)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.jsonl");
        write(&path, 3..11, 20).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let cut = first + ((whole.len() - first) as f64 * share) as usize;
        std::fs::write(&path, [&whole[..cut], &noise].concat()).unwrap();
        let mut part = PartWriter::open(&path, &header(3..11, 20), true).unwrap();
        fill(&mut part, 11).unwrap();
        part.finish().unwrap();
        prop_assert_eq!(std::fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn parts_in_any_order_are_the_whole(cuts in prop::collection::vec(0..20usize, 0..5), turned in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole");
        write(&whole, 0..20, 20).unwrap();
        let mut bounds = [vec![0, 20], cuts].concat();
        bounds.sort_unstable();
        let mut paths = Vec::new();
        for (number, pair) in bounds.windows(2).enumerate() {
            paths.push(folder.path().join(number.to_string()));
            write(&paths[number], pair[0]..pair[1], 20).unwrap();
        }
        if turned {
            paths.reverse();
        }
        prop_assert_eq!(texts(&paths).unwrap(), texts(&[whole]).unwrap());
    }
}

#[test]
fn parts_that_do_not_make_a_whole_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, positions) in [("a", 0..5), ("b", 5..10), ("late", 6..10), ("early", 4..10), ("short", 5..9)] {
        write(&path(name), positions, 10).unwrap();
    }
    let other = |name: &str, change: fn(&mut PartHeader)| {
        let mut header = header(5..10, 10);
        change(&mut header);
        let mut part = PartWriter::open(&path(name), &header, false).unwrap();
        fill(&mut part, 10).unwrap();
        part.finish().unwrap();
    };
    other("data", |header| header.data = "e".into());
    other("weights", |header| header.weights = 9);
    other("option", |header| drop(header.options.insert("conf".into(), decimal(0.5))));
    other("format", |header| header.format = "ghostzoo eval part 1".into());
    other("renamed", |header| header.model = "./m".into());
    let mut open = PartWriter::open(&path("open"), &header(5..10, 10), false).unwrap();
    fill(&mut open, 7).unwrap();
    let text = std::fs::read_to_string(path("b")).unwrap();
    std::fs::write(path("cut"), &text[..text.len() - 1]).unwrap();
    std::fs::write(path("more"), format!("{text}{{\"at\":10,\"done\":true}}\n")).unwrap();
    std::fs::write(path("none"), "{}\n").unwrap();
    for (second, expected) in [
        ("late", "items 5 to 6 of 10 is missing"),
        ("early", "holds items that another part holds too: 4 to 5"),
        ("short", "items 9 to 10 of 10 is missing"),
        ("a", "holds items that another part holds too: 0 to 5"),
        ("open", "has 3 of its 5 items still to do; run it with --resume"),
        ("cut", "still to do, from line"),
        ("more", "is damaged, or of no item of this part"),
        ("data", "other images or labels"),
        ("weights", "other weights"),
        ("option", "conf is 0.7 and 0.5"),
        ("format", "is a \"ghostzoo eval part 1\", no \"ghostzoo test part 1\""),
        ("none", "is no part that"),
    ] {
        let error = format!("{:#}", texts(&[path("a"), path(second)]).expect_err(expected));
        assert!(error.contains(expected), "{error} | {expected}");
    }
    assert!(texts(&[path("renamed"), path("a")]).is_ok(), "the same weights by another path");
}

#[test]
fn who_goes_on_must_be_the_run_that_began() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.jsonl");
    write(&path, 0..5, 10).unwrap();
    let refused = |header: &PartHeader, resume| format!("{:#}", PartWriter::open(&path, header, resume).unwrap_err());
    assert!(refused(&header(0..5, 10), false).contains("exists; --resume goes on with it"));
    assert!(refused(&header(5..10, 10), true).contains("holds 0 to 5 of 10, and this --shard 5 to 10"));
    let other = PartHeader { weights: 2, ..header(0..5, 10) };
    assert!(refused(&other, true).contains("is not the one that wrote"));
    let held = PartWriter::open(&path, &header(0..5, 10), true).unwrap();
    assert_eq!(held.next(), 5);
    assert!(refused(&header(0..5, 10), true).contains("is being written by another run"));
}

#[test]
fn confidences_and_boxes_come_back_to_the_bit() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let numbers = prop_oneof![0f32..1., 0f32..1e-3, -1e5f32..1e5, any::<u32>().prop_map(|n| n as f32)];
    let came_back = |number: f32| {
        let text = serde_json::to_string(&number).unwrap();
        prop_assert_eq!(serde_json::from_str::<f32>(&text).unwrap().to_bits(), number.to_bits());
        Ok(())
    };
    runner.run(&numbers, came_back).unwrap();
}

#[test]
fn a_first_line_that_was_cut_is_written_again_and_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.jsonl");
    write(&path, 0..3, 3).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap();
    for cut in [0, 1, first] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        write(&path, 0..3, 3).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {cut}");
    }
    std::fs::write(&path, &whole[1..first]).unwrap();
    let error = PartWriter::open(&path, &header(0..3, 3), true).unwrap_err().to_string();
    assert!(error.contains("is no part"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), whole[1..first]);
}

#[test]
fn of_runs_that_begin_one_file_at_once_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let path = folder.path().join(format!("{round}.jsonl"));
        let begin = std::sync::Barrier::new(4);
        let open = |start: usize| {
            begin.wait();
            PartWriter::open(&path, &header(start..start + 5, 20), true)
        };
        let opened: Vec<Result<PartWriter>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|place| scope.spawn(move || open(5 * place))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(opened.iter().filter(|opened| opened.is_ok()).count(), 1, "{opened:?}");
    }
}
