//! `key=value`, as `yolo` takes it, among the options.

/// Arguments of `yolo` that say what always holds here.
const HOLDING: [&str; 11] = [
    "amp=False",
    "half=False",
    "deterministic=True",
    "save=True",
    "verbose=True",
    "profile=False",
    "rect=False",
    "multi_scale=False",
    "multi_scale=0.0",
    "dropout=0.0",
    "time=None",
];

/// The command line without what always holds and with each `key=value` and each `--some_key` behind `train` written as `--some-key`, so that what
/// works with `yolo train` works here. `resume=True` and its like become flags or small letters.
pub(crate) fn as_options(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut words: Vec<String> = arguments.collect();
    let Some(train) = words.iter().skip(1).position(|word| word == "train") else { return words };
    let mut place = 0;
    words.retain(|word| {
        place += 1;
        place <= train + 2 || !HOLDING.contains(&word.as_str())
    });
    for word in words.iter_mut().skip(train + 2) {
        let (dashes, rest) = match word.strip_prefix("--") {
            Some(rest) => (true, rest),
            None => (false, word.as_str()),
        };
        let (key, value) = match rest.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (rest, None),
        };
        let is_key = key.starts_with(|c: char| c.is_ascii_lowercase())
            && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c));
        if !is_key || !(dashes || value.is_some()) {
            continue;
        }
        let key = key.replace('_', "-");
        *word = match value {
            Some("True") => format!("--{key}=true"),
            Some("False") => format!("--{key}=false"),
            Some(value) => format!("--{key}={value}"),
            None => format!("--{key}"),
        };
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_yolo_become_options() {
        let line = |text: &str| as_options(text.split(' ').map(str::to_owned)).join(" ");
        for (text, expected) in [
            ("ghostzoo train detect data=a/b.yaml lr0=0.01", "ghostzoo train detect --data=a/b.yaml --lr0=0.01"),
            ("ghostzoo train detect --close_mosaic 5 hsv_h=.1", "ghostzoo train detect --close-mosaic 5 --hsv-h=.1"),
            ("ghostzoo --quiet train detect cos_lr=True", "ghostzoo --quiet train detect --cos-lr=true"),
            ("ghostzoo train detect --data ./x=y.yaml", "ghostzoo train detect --data ./x=y.yaml"),
            ("ghostzoo train detect --name=a_b model=C:=x", "ghostzoo train detect --name=a_b --model=C:=x"),
            ("ghostzoo train detect amp=False epochs=3 save=True", "ghostzoo train detect --epochs=3"),
            ("ghostzoo train detect amp=True save_period=-1", "ghostzoo train detect --amp=true --save-period=-1"),
            ("ghostzoo detect a_b=c.jpg", "ghostzoo detect a_b=c.jpg"),
            ("ghostzoo bench --model train", "ghostzoo bench --model train"),
        ] {
            assert_eq!(line(text), expected);
        }
    }
}
