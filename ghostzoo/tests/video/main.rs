//! Videos and streams through ffmpeg, which makes them too; without it the tests that need it say so and pass.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod files;
mod streams;
mod writer;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether ffmpeg is there; says where it is not.
fn has_ffmpeg() -> bool {
    let is_there = Command::new("ffmpeg").arg("-version").output().is_ok();
    if !is_there {
        println!("skipped: there is no ffmpeg");
    }
    is_there
}

/// Runs ffmpeg in a folder, with arguments by blanks.
fn ffmpeg(folder: &Path, arguments: &str) {
    let arguments = arguments.split_whitespace();
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-y", "-nostdin"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A video of 64x48 at 25 frames per second, with sound, in a format by its name.
fn video(folder: &Path, name: &str, seconds: u32) -> PathBuf {
    ffmpeg(
        folder,
        &format!(
            "-f lavfi -i testsrc2=s=64x48:r=25:d={seconds} -f lavfi -i sine=d={seconds} -pix_fmt yuv420p -g 10 {name}"
        ),
    );
    folder.join(name)
}
