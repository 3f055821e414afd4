#![allow(clippy::unwrap_used)]
use super::*;

const FULL: &str = r#"
    max_bad_rows = 3
    split = { by = "user_fraction", test = 0.1 }
    negatives = { per_positive = 4, draw = "popularity" }
    [[layouts]]
    name = "official"
    samples = { path = "ratings.dat", separator = "::", columns = ["user_id", "movie_id", "rating", "time"], encoding = "latin-1" }
    joins = [
        { source = { path = "users.dat" }, on = "user_id", columns = ["age"] },
        { source = { path = "pairs" }, on = ["user_id", "movie_id"], collect = true },
        { source = { path = "movies.dat" }, on = { left = "movie_id", right = "id" } },
    ]
    derive = [
        { name = "genre", from = "genres", as = { part = { separator = "|", index = 0 } } },
        { name = "user", from = "user_id", as = { offset = -1 } },
        { name = "item", from = "movie_id", as = { first_appearance = 0 } },
        { name = "one", as = { constant = "1" } },
        { name = "title", from = "path", as = "percent_decoded" },
        { name = "old", from = "age", as = { when = { at_least = 50.0 } } },
    ]
    filters = [{ column = "rating", keep = { one_of = ["4", "5"] } }]
    candidates.test = { pairs = "negative" }
    candidates.valid = { table = { source = { path = "v.tsv", columns = ["user", "item"], repeat = true } } }
"#;

fn parse(text: &str) -> DataConfig {
    toml::from_str(text).unwrap()
}

#[test]
fn reads_every_kind_of_setting_and_writes_it_again() {
    let config = parse(FULL);
    config.check().unwrap();
    assert_eq!(config.split, Some(Split::UserFraction { valid: 0.0, test: 0.1 }));
    assert_eq!(config.negatives.as_ref().unwrap().splits, ["train"]);
    let layout = &config.layouts[0];
    assert_eq!(layout.joins[1].on.pairs(), [("user_id", "user_id"), ("movie_id", "movie_id")]);
    assert_eq!(layout.joins[2].on.pairs(), [("movie_id", "id")]);
    assert_eq!(layout.derive[5].rule, Rule::When(Condition::AtLeast(50.0)));
    assert_eq!(parse(&toml::to_string(&config).unwrap()), config);
}

#[test]
fn refuses_unknown_keys_everywhere() {
    for (good, bad) in [
        ("max_bad_rows", "max_bad_row"),
        ("encoding =", "encodings ="),
        ("test = 0.1 }", "test = 0.1, tset = 0.1 }"),
        ("draw =", "drawn ="),
        ("index = 0", "index = 0, indx = 1"),
        ("repeat = true }", "repeat = true }, usr = \"u\""),
        ("repeat = true", "repeats = true"),
        ("collect = true", "collects = true"),
        ("keep = {", "kept = {"),
        ("as = { offset", "as = { ofset"),
    ] {
        assert!(FULL.contains(good), "{good}");
        assert!(toml::from_str::<DataConfig>(&FULL.replacen(good, bad, 1)).is_err(), "{bad}");
    }
}

#[test]
fn what_is_given_is_not_made_again() {
    let of = |split: Split, given: &[&str]| {
        let splits = given.iter().map(|name| ((*name).to_owned(), Source::default())).collect();
        DataConfig { split: Some(split), ..DataConfig::default() }.split_of(&Layout { splits, ..Layout::default() })
    };
    let random = |valid, test| Split::Random { valid, test };
    assert_eq!(of(random(0.1, 0.2), &[]), Some(random(0.1, 0.2)));
    assert_eq!(of(random(0.1, 0.2), &["train", "test"]), Some(random(0.1, 0.0)));
    assert_eq!(of(random(0.0, 0.2), &["train", "test"]), None);
    let last = Split::LeaveLast { valid: 1, test: 1 };
    assert_eq!(of(last, &["train", "valid"]), Some(Split::LeaveLast { valid: 0, test: 1 }));
    let at = Split::TimeAt { valid: None, test: Some(TimeBorder::Number(5)) };
    assert_eq!(of(at, &["train"]), Some(at));
    assert_eq!(of(at, &["train", "test"]), None);
    assert_eq!(DataConfig::default().split_of(&Layout::default()), None);
}

#[test]
fn checks_say_which_key_is_wrong() {
    let error = |change: &dyn Fn(&mut DataConfig)| {
        let mut config = parse(FULL);
        change(&mut config);
        config.check().unwrap_err().to_string()
    };
    assert!(error(&|c| c.layouts.clear()).contains("no layout"));
    assert!(error(&|c| c.split = Some(Split::Random { valid: 0.5, test: 0.5 })).contains("leave nothing"));
    assert!(error(&|c| c.split = Some(Split::Random { valid: f64::NAN, test: 0.5 })).contains("leave nothing"));
    assert!(
        error(&|c| c.split =
            Some(Split::TimeAt { valid: Some(TimeBorder::Number(9)), test: Some(TimeBorder::Number(9)) }))
        .contains("before")
    );
    assert!(error(&|c| c.split = None).contains("data.split"));
    assert!(error(&|c| c.layouts[0].samples = None).contains("either"));
    assert!(error(&|c| c.layouts[0].derive[1].name = "genre".into()).contains("derived twice"));
    assert!(error(&|c| c.layouts[0].derive[1].rule = Rule::Cut(vec![2.0, 2.0])).contains("borders must ascend"));
    assert!(error(&|c| c.layouts[0].derive[1].from = None).contains("from"));
    assert!(error(&|c| c.layouts[0].filters[0].only = vec!["train".into()]).contains("not a given split"));
    let copy = |c: &mut DataConfig| c.layouts.push(c.layouts[0].clone());
    assert!(error(&copy).contains("two layouts"));
}
