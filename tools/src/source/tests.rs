use super::*;

/// The labels, or `!` before what failed, relative to `root`.
fn labels(root: &Path, argument: &str) -> Vec<String> {
    let argument = if argument == "-" { argument.to_owned() } else { root.join(argument).display().to_string() };
    let shown = |entry: SourceEntry| {
        let mark = if entry.source.is_err() { "!" } else { "" };
        let label = entry.label.strip_prefix(&format!("{}/", root.display())).unwrap_or(&entry.label).to_owned();
        format!("{mark}{label}")
    };
    expand(&[argument.into()], Media::Images).into_iter().map(shown).collect()
}

#[test]
fn arguments_name_images() -> Result<()> {
    let root = tempfile::tempdir()?;
    let root = root.path();
    fs::create_dir_all(root.join("folder/below"))?;
    fs::create_dir(root.join("empty"))?;
    for name in
        ["folder/b.JPG", "folder/a.png", "folder/note.md", "folder/.hidden.jpg", "folder/below/c.jpg", "[x].bmp"]
    {
        fs::write(root.join(name), "")?;
    }
    fs::write(root.join("list.txt"), "\u{feff}folder/a.png\r\n\n  folder\nmissing.jpg\n")?;
    fs::write(root.join("old_mac.txt"), "folder/a.png\rfolder/b.JPG\r")?;
    fs::write(root.join("blank.txt"), "\n \n")?;
    let cases: [(&str, &[&str]); 12] = [
        ("folder", &["folder/a.png", "folder/b.JPG"]),
        ("folder/a.png", &["folder/a.png"]),
        ("folder/*", &["folder/a.png", "folder/b.JPG"]),
        ("folder/**/*.jpg", &["folder/below/c.jpg"]),
        ("[x].bmp", &["[x].bmp"]),
        ("none*.jpg", &["!none*.jpg"]),
        ("empty", &["!empty"]),
        ("missing.jpg", &["missing.jpg"]),
        ("list.txt", &["folder/a.png", "folder/a.png", "folder/b.JPG", "missing.jpg"]),
        ("old_mac.txt", &["folder/a.png", "folder/b.JPG"]),
        ("blank.txt", &["!blank.txt"]),
        ("-", &["-"]),
    ];
    for (argument, expected) in cases {
        assert_eq!(labels(root, argument), expected, "{argument}");
    }
    Ok(())
}

#[test]
fn long_names_are_shortened_and_stay_apart() {
    let stem = |name: &str| bytes::shown(Source::File(PathBuf::from(name)).stem());
    let long = "é".repeat(120);
    let (one, two) = (stem(&format!("a/{long}1.jpg")), stem(&format!("a/{long}2.jpg")));
    assert!(one != two && one.len() <= MAX_STEM_BYTES && one.starts_with(&long[..180]), "{one} {two}");
    assert_eq!(one, stem(&format!("b/{long}1.png")));
    assert_eq!(stem(&format!("{}.jpg", "x".repeat(200))), "x".repeat(200));
}

#[test]
fn stdin_is_read_once() {
    let entries = expand(&["-".into(), "-".into()], Media::Images);
    assert!(entries[0].source.is_ok() && entries[1].source.is_err());
}

#[test]
fn what_is_no_image_is_named_for_what_it_is() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let film = folder.path().join("film.MP4");
    fs::write(&film, b"\0\0\0\x18ftypmp42")?;
    let refused = |path: &Path| {
        let decoded = Source::File(path.to_path_buf()).decode(&DecodeOptions::default(), Duration::ZERO);
        decoded.expect_err("no image").to_string()
    };
    assert!(refused(&film).starts_with("a video") && refused(&film).contains("ffmpeg -i"), "{}", refused(&film));
    assert!(refused(folder.path()).starts_with("a folder"));
    assert!(refused(Path::new("https://example.org/bus.jpg")).starts_with("an address"));
    assert!(refused(Path::new("0")).contains("cameras are not read"));
    assert_eq!(refused(Path::new("none.jpg")), "there is no such file");
    if cfg!(target_os = "linux") {
        assert!(refused(Path::new("/dev/zero")).starts_with("a pipe or a device"));
    }
    Ok(())
}

#[test]
fn videos_are_told_from_images_where_they_are_looked_at() -> Result<()> {
    let root = tempfile::tempdir()?;
    let root = root.path();
    for name in ["b.mp4", "a.MKV", "z.png", ".hidden.mp4", "note.md"] {
        fs::write(root.join(name), "")?;
    }
    fs::write(root.join("cams.streams"), "rtsp://me:secret@h/1\n0\nb.mp4\n")?;
    fs::write(root.join("list.txt"), "z.png\nrtsp://h/1\nb.mp4\n")?;
    let sources = |argument: &str| -> Vec<Source> {
        let argument =
            if argument.contains("://") { argument.to_owned() } else { root.join(argument).display().to_string() };
        let entries = expand(&[argument.into()], Media::Videos(None));
        entries.into_iter().map(|entry| entry.source.expect("a source")).collect()
    };
    let file = |name: &str| VideoInput::File(root.join(name));
    let (camera, stream) = (VideoInput::Camera(0), VideoInput::Url("rtsp://h/1".into()));
    assert_eq!(
        sources("."),
        [Source::File(root.join("./z.png")), Source::Video(file("./a.MKV")), Source::Video(file("./b.mp4")),]
    );
    assert_eq!(
        sources("*"),
        [Source::File(root.join("z.png")), Source::Video(file("a.MKV")), Source::Video(file("b.mp4"))]
    );
    assert_eq!(sources("*.[mM][kKpP][vV4]"), [file("a.MKV"), file("b.mp4")].map(Source::Video));
    fs::write(root.join("[x].mp4"), "")?;
    assert_eq!(sources("[x].mp4"), [Source::Video(file("[x].mp4"))], "a file of this very name");
    fs::remove_file(root.join("[x].mp4"))?;
    let none = expand(&[root.join("no*.mp4").into()], Media::Videos(None)).remove(0);
    assert_eq!(none.source.expect_err("nothing").to_string(), "no image or video matches this glob");
    let secret = VideoInput::Url("rtsp://me:secret@h/1".into());
    assert_eq!(sources("cams.streams"), [secret, camera, file("b.mp4")].map(Source::Stream));
    assert_eq!(sources("cams.streams")[0].label(), "rtsp://***@h/1");
    assert_eq!(
        sources("list.txt"),
        [Source::File(root.join("z.png")), Source::Stream(stream), Source::Video(file("b.mp4"))]
    );
    assert_eq!(sources("https://h/a/bus.JPG?x=1"), [Source::Remote("https://h/a/bus.JPG?x=1".into())]);
    assert_eq!(sources("https://h/a.mp4"), [Source::Video(VideoInput::Url("https://h/a.mp4".into()))]);
    assert_eq!(sources("http://h:80/live"), [Source::Stream(VideoInput::Url("http://h:80/live".into()))]);
    let stdin = expand(&["-".into()], Media::Videos(Some(StdinFormat::Mjpeg))).remove(0).source?;
    assert_eq!(stdin, Source::Video(VideoInput::Stdin(StdinFormat::Mjpeg)));
    Ok(())
}

#[test]
fn what_is_saved_of_a_stream_has_a_name() {
    let stem = |source: &str| of_video(OsStr::new(source)).expect("a source").stem();
    for (source, expected) in [
        ("0", "camera0"),
        ("rtsp://me:secret@10.0.0.1:554/live/ch1?x=/y", "ch1"),
        ("rtsp://me:secret@10.0.0.1:554", "10.0.0.1_554"),
        ("https://h/a/bus.jpg", "bus"),
        ("a/film.mp4", "film"),
    ] {
        assert_eq!(stem(source), expected, "{source}");
    }
}
