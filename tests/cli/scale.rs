//! The manifest and the script of docs/scale.md do what the guide says.
#![cfg(unix)]

use std::path::Path;
use std::process::Command;

use crate::support::TestDir;
use yaml_rust2::{Yaml, YamlLoader};

/// The blocks of the guide in a language.
fn blocks(language: &str) -> Vec<String> {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scale.md");
    let text = std::fs::read_to_string(guide).unwrap();
    let begin = format!("```{language}\n");
    text.split(&begin).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// A folder with what the guide finds in `/data`, and a shell that finds the program.
fn place() -> TestDir {
    let place = TestDir::new();
    (0..10).for_each(|i| drop(place.image(&format!("images/{i}.png"), [64 + i, 48], i)));
    place.run("convert yolov8n-ghostnet-bccd best.safetensors --quiet").succeeded();
    std::fs::create_dir(place.path("parts")).unwrap();
    place
}

/// Runs a shell's text with `/data` in the folder.
fn shell(place: &TestDir, text: &str, variables: &[(&str, &str)]) {
    let data = place.path("").display().to_string();
    let script = place.write("script.sh", text.replace("/data", data.trim_end_matches('/')));
    let program = Path::new(env!("CARGO_BIN_EXE_ghostzoo")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash").arg(script).env("PATH", path).envs(variables.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The table of a run over all.
fn whole(place: &TestDir) -> Vec<u8> {
    let images = place.path("images").display().to_string();
    place.run(&format!("detect {images} -m best.safetensors --no-save --quiet --parquet whole.parquet")).succeeded();
    std::fs::read(place.path("whole.parquet")).unwrap()
}

#[test]
fn the_script_of_slurm_and_the_lines_of_the_shell_give_the_whole() {
    let place = place();
    let expected = whole(&place);
    let [by_hand, merge] = blocks("sh").try_into().unwrap();
    shell(&place, &by_hand, &[]);
    let found = || std::fs::read(place.path("found.parquet")).unwrap();
    assert!(found() == expected, "by hand");
    std::fs::remove_dir_all(place.path("parts")).unwrap();
    let [script] = blocks("bash").try_into().unwrap();
    let tasks = 8;
    assert!(script.contains(&format!("#SBATCH --array=0-{}\n", tasks - 1)), "{script}");
    for task in 0..tasks {
        let [id, count, most] = [task, tasks, tasks - 1].map(|number| number.to_string());
        let variables = [
            ("SLURM_ARRAY_TASK_ID", id.as_str()),
            ("SLURM_ARRAY_TASK_COUNT", &count),
            ("SLURM_ARRAY_TASK_MIN", "0"),
            ("SLURM_ARRAY_TASK_MAX", &most),
            ("SLURM_CPUS_PER_TASK", "1"),
        ];
        shell(&place, &script, &variables);
    }
    std::fs::remove_file(place.path("found.parquet")).unwrap();
    shell(&place, &merge, &[]);
    assert!(found() == expected, "by the array");
}

#[test]
fn the_manifest_of_kubernetes_gives_the_whole() {
    let place = place();
    let expected = whole(&place);
    let [manifest] = blocks("yaml").try_into().unwrap();
    let manifest = &YamlLoader::load_from_str(&manifest).unwrap()[0];
    let spec = &manifest["spec"];
    assert_eq!((manifest["kind"].as_str(), spec["completionMode"].as_str()), (Some("Job"), Some("Indexed")));
    let completions = spec["completions"].as_i64().unwrap();
    let container = &spec["template"]["spec"]["containers"][0];
    let words = |key: &str| container[key].as_vec().unwrap().iter().map(|word| word.as_str().unwrap().to_owned());
    assert_eq!(words("command").collect::<Vec<_>>(), ["ghostzoo"]);
    let variable = container["env"][0]["name"].as_str().unwrap();
    let is_index = |from: &Yaml| from["fieldRef"]["fieldPath"].as_str().unwrap().ends_with("job-completion-index']");
    assert!(is_index(&container["env"][0]["valueFrom"]));
    let mut parts = String::new();
    for index in 0..completions {
        // Kubernetes puts the variables of a container into its arguments.
        let data = place.path("").display().to_string();
        let arguments = words("args").map(|word| {
            let word = word.replace(&format!("$({variable})"), &index.to_string());
            word.replace("/data", data.trim_end_matches('/'))
        });
        let output = place.command("").args(arguments).env("JOB_COMPLETION_INDEX", index.to_string()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        parts.push_str(&format!(" parts/{index}.jsonl"));
    }
    place.run(&format!("merge{parts} --parquet found.parquet --quiet")).succeeded();
    assert!(std::fs::read(place.path("found.parquet")).unwrap() == expected);
}
