use adntn_compiler::Options;
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::args::ORDINARY;
use super::super::config::Kind;
use super::*;

/// Values for every setting: what is printed of them has to be read as the same.
const VALUES: &[(&str, &[&str])] = &[
    ("calibration", &["samples.npz", "a folder/\"quoted\""]),
    ("labels", &["labels.npy"]),
    ("held-out", &["new.npz"]),
    ("held-out-labels", &["new.npy"]),
    ("image-size", &["224", "224x160"]),
    ("image-resize", &["256"]),
    ("image-white", &["255", ".5", "1e-3"]),
    ("image-mean", &["0.485,0.456,0.406", "-1", "1."]),
    ("image-std", &["0.229,0.224,0.225", "+2"]),
    ("image-bgr", &["true", "false"]),
    ("channels-last", &["true", "false"]),
    ("memory", &["64", "18446744073709551615"]),
    ("tolerance", &["2%", "0.02", "0", "1", ".5%"]),
    ("metric", &["top-class", "scores=cosine", "a=b=error"]),
    ("threshold", &["0.25", "-3"]),
    ("confidence", &["99%", "0.9"]),
    ("time", &["90", "10m", ".5h"]),
    ("effort", &["quick", "max"]),
    ("max-size", &["16000", "1.3MB"]),
    ("layers", &["^fc[12]$", "\\d+\\.'\"\"\"", "5", "é\t"]),
    ("exclude", &["head"]),
    ("topology", &["attn", "mera"]),
    ("bond", &["8"]),
    ("activation", &["relu", "leaky-relu"]),
    ("layout", &["separated", "o8 i8 o8 i8"]),
    ("kernel-legs", &["with-inputs"]),
    ("core-type", &["float32"]),
    ("min-elements", &["1", "+1000"]),
    ("seed", &["7", "18446744073709551615"]),
    ("legs", &["16"]),
    ("fit", &["end-to-end", "layer-wise"]),
    ("ratio", &["400", "50x", "2.5"]),
    ("epochs", &["18"]),
    ("batch", &["64"]),
    ("rate", &["0.03", "1e-2"]),
    ("temperature", &["4"]),
    ("label-share", &["80%", "0"]),
    ("loss", &["cosine"]),
    ("match", &["inner=0.5", "a,b"]),
    ("train-rest", &["true"]),
    ("augment-flip", &["true"]),
    ("augment-shift", &["2"]),
    ("augment-warp", &["50"]),
    ("augment-copies", &["7"]),
    ("half-cache", &["true"]),
    ("checkpoint", &["state.bin"]),
    ("resume", &["true"]),
    ("cache-dir", &["cache", "kept/a b"]),
    ("no-cache", &["true", "false"]),
    ("cache-size", &["500MB", "1000000"]),
    ("report", &["report.json"]),
    ("diagram", &["networks.svg"]),
    ("dry-run", &["true"]),
    ("accept-worse", &["true"]),
    ("external-data", &["true"]),
];

const RULES: &[&str] = &["fc=bond:3", "^fc1$=ratio:400,layout:o8 i8 o8 i8", "=legs:8,activation:relu,topology:mera"];

const EXAMPLE: &str = r#"tolerance = "1%"
image-mean = [0.485, 0.456]
metric = ["a=error"]
epochs = 18
fit = "end-to-end"
train-rest = true
[[rule]]
layers = "^fc1$"
legs = 8
priority = -1
[[rule]]
layers = "."
layout = "o8 i8 o8 i8"
ratio = 2.5
"#;

fn settings(more: &[String]) -> Settings {
    let name = ["adntn-compile".to_owned()];
    Settings::read(name.iter().chain(more).map(OsString::from)).unwrap()
}

/// What the options say, but for where they come from.
fn said(options: &Options) -> String {
    let rules: Vec<_> = options
        .generators
        .iter()
        .map(|rule| format!("{} {} {:?}", rule.layers, rule.priority, rule.settings()))
        .collect();
    format!("{:?} {rules:?}", Options { generators: Vec::new(), settings: None, ..options.clone() })
}

/// What is said when what is printed of some settings is read again.
fn said_again(settings: &Settings, options: &Options) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), settings.printed(&options.generators).unwrap()).unwrap();
    let again = self::settings(&["--config".into(), file.path().display().to_string()]);
    assert_eq!(again.printed(&options.generators).unwrap(), settings.printed(&options.generators).unwrap());
    said(&again.options().unwrap())
}

#[test]
fn arguments_are_consistent() {
    Args::command().debug_assert();
    command().debug_assert();
    for id in ORDINARY {
        assert!(arguments().iter().any(|arg| arg.get_id().as_str() == *id), "there is no argument {id}");
    }
}

#[test]
fn without_arguments_the_options_are_those_of_the_library() {
    assert_eq!(said(&settings(&[]).options().unwrap()), said(&Options::new("", "")));
}

/// An option that has no values above is not shown to survive printing and reading.
#[test]
fn every_setting_has_values_to_be_tested_with() {
    let of_options: Vec<String> =
        arguments().iter().filter(|arg| is_setting(arg)).map(|arg| arg.get_long().unwrap().to_owned()).collect();
    for key in &of_options {
        assert!(VALUES.iter().any(|(known, _)| known == key), "give `{key}` values in VALUES");
    }
    for (key, values) in VALUES {
        assert!(of_options.iter().any(|known| known == key), "there is no option --{key}");
        for value in *values {
            let mut line = vec![format!("--{key}={value}")];
            let [fit, state, flip] = ["--fit=end-to-end", "--checkpoint=state", "--augment-flip"].map(str::to_owned);
            line.extend([fit, state, flip].into_iter().filter(|arg| !arg.starts_with(&format!("--{key}"))));
            let settings = settings(&line);
            let Ok(options) = settings.options() else { continue };
            assert_eq!(said(&options), said_again(&settings, &options), "--{key}={value}");
        }
    }
}

#[test]
fn a_key_in_a_file_does_what_the_option_does() {
    for (key, values) in VALUES {
        let arg = arguments().into_iter().find(|arg| arg.get_long() == Some(key)).unwrap();
        for value in *values {
            let by_option = settings(&[format!("--{key}={value}")]);
            let file = tempfile::NamedTempFile::new().unwrap();
            let written = match Kind::of(&arg) {
                Kind::Text => toml::Value::String((*value).to_owned()).to_string(),
                _ => continue,
            };
            std::fs::write(file.path(), format!("{key} = {written}\n")).unwrap();
            let by_file = settings(&["--config".into(), file.path().display().to_string()]);
            let raw = |settings: &Settings| {
                let values = settings.matches.get_raw(arg.get_id().as_str()).unwrap();
                values.map(ToOwned::to_owned).collect::<Vec<OsString>>()
            };
            assert_eq!(raw(&by_option), raw(&by_file), "{key}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn what_is_printed_gives_the_same_settings(
        chosen in proptest::collection::vec(proptest::option::weighted(0.4, any::<Index>()), VALUES.len()),
        rules in proptest::collection::vec(any::<Index>(), 0..4),
        odd in proptest::option::of("\\PC{1,12}|[\"'\\\\\n\t#\u{7f} ]{1,12}"),
    ) {
        let mut line: Vec<String> = Vec::new();
        for ((key, values), chosen) in VALUES.iter().zip(chosen) {
            line.extend(chosen.map(|index| format!("--{key}={}", index.get(values))));
        }
        line.extend(rules.iter().map(|index| format!("--generator={}", index.get(RULES))));
        if !line.iter().any(|arg| arg == "--fit=end-to-end") {
            // Settings of training are refused then.
            let training: Vec<Arg> = arguments().into_iter().filter(is_of_training).collect();
            let is_one = |line: &str| training.iter().any(|arg| line.starts_with(&format!("--{}=", arg.get_long().unwrap())));
            line.retain(|arg| !is_one(arg));
            line.retain(|arg| !arg.contains("ratio:"));
        }
        if let Some(odd) = odd {
            line.retain(|arg| !arg.starts_with("--layers=") && !arg.starts_with("--report="));
            line.extend([format!("--layers={}", regex::escape(&odd)), format!("--report={odd}")]);
        }
        let settings = settings(&line);
        // Some need others beside them.
        if let Ok(options) = settings.options() {
            prop_assert_eq!(said(&options), said_again(&settings, &options));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(
        head in "[a-z-]{0,12}|\\PC{0,8}",
        cuts in proptest::collection::vec((any::<Index>(), any::<Index>(), "[\\[\\]{}\"'=#.,\n a-z0-9_-]{0,3}"), 0..4),
    ) {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        for (start, length, put) in cuts {
            let start = start.index(text.len());
            let end = (start + length.index(12)).min(text.len());
            text.splice(start..end, put.chars());
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), head + &String::from_iter(text)).unwrap();
        let line = ["adntn-compile".into(), "--config".into(), OsString::from(file.path())];
        match Settings::read(line) {
            Ok(settings) => drop(settings.options()),
            Err(Refusal::File(error)) => {
                prop_assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
            }
            Err(Refusal::CommandLine(error)) => prop_assert!(false, "{error}"),
        }
    }
}
