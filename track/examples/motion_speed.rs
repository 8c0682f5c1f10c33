//! How long camera motion compensation takes for a frame, on one thread: `cargo run --release -p ghostzoo-track --example motion_speed`.
//! `tests/oracle/motion_speed.py` times OpenCV's on the same frames.

use std::time::Instant;

use ghostzoo_track::motion::{Compensation, GrayFrame};

#[path = "../tests/scene/mod.rs"]
mod scene;

/// Of each frame the fastest of so many times counts, for other work disturbs.
const ROUNDS: usize = 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/track/motion.json");
    let golden: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(golden)?)?;
    let Some(sequence) = golden["speed"].as_array() else {
        return Err("the golden file has no frames for speed".into());
    };
    let frames: Vec<_> = sequence.iter().map(scene::Scene::from_json).map(|scene| (scene.draw(), scene)).collect();
    let mut fastest = vec![f64::INFINITY; frames.len()];
    for _ in 0..ROUNDS {
        let mut compensation = Compensation::new();
        for ((pixels, scene), fastest) in frames.iter().zip(&mut fastest) {
            let frame = GrayFrame::new(scene.width, scene.height, pixels)?;
            let begin = Instant::now();
            compensation.apply(&frame, &[]);
            *fastest = fastest.min(begin.elapsed().as_secs_f64());
        }
    }
    // The first frame has none before it.
    let mean = fastest[1..].iter().sum::<f64>() / (fastest.len() - 1) as f64;
    println!("ghostzoo: {:.2} ms per frame of {}x{}", 1e3 * mean, frames[0].1.width, frames[0].1.height);
    Ok(())
}
