//! What to show one user: by retriever and ranker, by one of them, for users the data have and others; and what is refused.
#![allow(clippy::unwrap_used)]

mod common;

use common::{done, kitestring};
use serde_json::Value;
use std::collections::HashSet;

/// Places of eight kinds, and users of eight clubs who see all of them and visit those of their kind.
const CONFIG: &str = r#"
[data]
split = { by = "user_fraction", test = 0.1 }
[[data.layouts]]
name = "visits"
samples = { path = "visits.csv" }
[schema]
user = "user"
item = "place"
time = "time"
features = [
    { name = "user", kind = "categorical", of = "user" },
    { name = "club", kind = "categorical", of = "user" },
    { name = "before", kind = "sequence", of = "user", table = "place", length = 8, history = { of = "place", when = "visit" } },
    { name = "hour", kind = "numeric", of = "context" },
    { name = "place", kind = "categorical", of = "item" },
    { name = "title", kind = "categorical", of = "item" },
    { name = "kind", kind = "categorical", of = "item" },
]
tasks = [{ name = "visit" }, { name = "buy", after = "visit" }]
[model]
dimension = 8
encoder = { type = "pool" }
body = { type = "mlp", units = [32] }
[train]
batch_size = 64
epochs = 20
learning_rate = 1e-2
workers = 1
[evaluate]
bootstrap = 0
"#;

const RETRIEVER: &str = r#"
[retrieve]
cutoffs = [20]
candidates = [40]
objective = { type = "softmax", temperature = 0.2 }
[retrieve.model]
dimension = 8
vector = 8
unit_length = true
query = { layers = { units = [16] } }
item = { layers = { units = [16] } }
[retrieve.train]
batch_size = 64
epochs = 6
learning_rate = 1e-2
workers = 1
row_init = { normal = { std = 0.1 } }
"#;

struct Town {
    folder: tempfile::TempDir,
}

impl Town {
    fn new() -> Self {
        let town = Self { folder: tempfile::tempdir().unwrap() };
        let mut rows = String::from("user,club,hour,place,title,kind,time,visit,buy\n");
        for user in 0..120_u64 {
            for event in 0..20_u64 {
                let draw = (user * 7919 + event * 104_729) ^ (event << 5);
                let kind = if draw % 10 < 5 { user % 8 } else { draw / 10 % 8 };
                let place = kind + 8 * (draw / 80 % 12);
                let visit = kind == user % 8;
                let (visit, buy) = (u8::from(visit), u8::from(visit && event % 4 == 0));
                rows += &format!(
                    "u{user},c{},{},p{place},Place no. {place},k{kind},{event},{visit},{buy}\n",
                    user % 8,
                    event % 5
                );
            }
        }
        town.write("visits.csv", &rows);
        town.write("ranker.toml", CONFIG);
        town.write("both.toml", &format!("{CONFIG}{RETRIEVER}"));
        town
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs a command that trains, into a folder.
    fn train(&self, command: &[&str], config: &str, out: &str) -> String {
        let (config, data, out) = (self.path(config), self.path("visits.csv"), self.path(out));
        let outcome = kitestring(&[command, &[&config, "--data", &data, "--out", &out, "--quiet"]].concat());
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        out
    }

    /// The places that a user has seen.
    fn seen(&self, user: &str) -> HashSet<String> {
        let rows = std::fs::read_to_string(self.path("visits.csv")).unwrap();
        let of_user = rows.lines().filter(|row| row.starts_with(&format!("{user},")));
        of_user.map(|row| row.split(',').nth(3).unwrap().to_owned()).collect()
    }
}

fn recommend(run: &str, more: &[&str]) -> Value {
    let outcome = kitestring(&[&["recommend", run, "--json"], more].concat());
    assert_eq!(outcome.code, Some(0), "{more:?}: {}", outcome.stderr);
    assert_eq!(outcome.stdout.lines().count(), 1, "the object alone: {}", outcome.stdout);
    outcome.json()
}

fn items(found: &Value) -> Vec<String> {
    found["items"].as_array().unwrap().iter().map(|item| item["item"].as_str().unwrap().to_owned()).collect()
}

/// How many of the items are of a kind.
fn of_kind(found: &Value, kind: u64) -> usize {
    items(found).iter().filter(|item| item[1..].parse::<u64>().unwrap() % 8 == kind).count()
}

#[test]
fn retriever_and_ranker_together() {
    let town = Town::new();
    let run = town.train(&["run"], "both.toml", "run");
    let found = recommend(&run, &["--user", "u3", "-k", "6"]);
    let list = found["items"].as_array().unwrap();
    assert_eq!((list.len(), &found["known_user"], &found["candidates"]), (6, &Value::Bool(true), &Value::from(40)));
    assert_eq!((&found["from"], &found["ordered_by"]), (&Value::from("retriever"), &Value::from("visit")));
    let scores: Vec<f64> = list.iter().map(|item| item["tasks"]["visit"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    let seen = town.seen("u3");
    assert!(items(&found).iter().all(|item| !seen.contains(item)), "{found}");
    for (at, item) in list.iter().enumerate() {
        assert_eq!(item["rank"], at + 1);
        assert_eq!(item["name"].as_str().unwrap(), format!("Place no. {}", &item["item"].as_str().unwrap()[1..]));
        assert!(item["tasks"]["buy"].is_f64() && item["retriever"].is_f64());
    }
    // The table shows the same.
    let table = done(&["recommend", &run, "--user", "u3", "-k", "6"]).stdout;
    let lines: Vec<&str> = table.lines().collect();
    let heads: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(heads, ["rank", "item", "name", "visit", "buy", "retriever"]);
    for (line, item) in lines[1..].iter().zip(list) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((cells[0], cells[1]), (item["rank"].to_string().as_str(), item["item"].as_str().unwrap()));
        assert!(line.contains(&format!("{:.4}", item["tasks"]["visit"].as_f64().unwrap())), "{line}");
    }
    assert_eq!(lines[7], "the best 6 of 40 items that the retriever found, by visit");

    // With what was seen, the user's own kind comes first.
    let all = recommend(&run, &["--user", "u3", "--with-seen"]);
    assert!(of_kind(&all, 3) >= 8 && items(&all).iter().any(|item| seen.contains(item)), "{all}");
    // More than there are.
    let many = recommend(&run, &["--user", "u3", "-k", "1000"]);
    let (left, asked) = (96 - seen.len(), many["asked"].as_u64().unwrap());
    assert_eq!((items(&many).len(), many["candidates"].as_u64().unwrap(), asked), (left, left as u64, 1000));
    let table = done(&["recommend", &run, "--user", "u3", "-k", "1000"]).stdout;
    assert!(table.ends_with("by visit; 1000 were asked for and no more are left\n"), "{table}");
    // Among all that are left, the ranker's order does not depend on how many candidates there are.
    let wide = recommend(&run, &["--user", "u3", "-k", "6", "--candidates", "1000"]);
    assert_eq!(items(&wide), items(&many)[..6]);

    // A history that is given takes the place of the user's, and is seen.
    let history = ["--history", "p5,p13,p21,p29", "--history", "p37:visit"];
    let other = recommend(&run, &[&["--user", "u3", "-k", "40", "--with-seen"][..], &history].concat());
    assert_ne!(items(&other), items(&recommend(&run, &["--user", "u3", "-k", "40", "--with-seen"])));
    let asked = [&["recommend", &run, "--json", "--user", "nobody"][..], &history].concat();
    let outcome = kitestring(&asked);
    let message = "note: user `nobody` is not in the run's data: the recommendations rest on --history\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), message));
    let found = outcome.json();
    assert_eq!(found["known_user"], false);
    assert!(["p5", "p13", "p21", "p29", "p37"].iter().all(|item| !items(&found).contains(&(*item).to_owned())));
    let anonymous = recommend(&run, &history);
    assert_eq!(items(&anonymous), items(&found));
    // The history decides; what was bought was visited as well, and an item alone was both.
    let told = |history: &str| recommend(&run, &["--history", history, "-k", "80"])["items"].clone();
    assert_eq!((told("p5:buy,p13:visit"), told("p5,p13")), (told("p5:visit,p13:visit"), told("p5:visit,p13:buy")));
    assert_ne!(told("p5,p13"), told("p2,p10"));
    // A club is known of users nobody has seen.
    let club = recommend(&run, &["--context", "club=c6", "--context", "hour=3"]);
    assert!(of_kind(&club, 6) >= 7, "{club}");
    let outcome = kitestring(&["recommend", &run, "--json", "--context", "club=c66"]);
    assert_eq!(outcome.code, Some(0));
    assert!(outcome.stderr.starts_with("note: training does not know `c66` of `club`"), "{}", outcome.stderr);
    // An item that comes later is recommended like any other.
    town.write("new.csv", "place,title,kind\np200,A new place,k6\n");
    let added = kitestring(&["retrieve", "index", &run, "--add", &town.path("new.csv")]);
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    let all = recommend(&run, &["--context", "club=c6", "-k", "1000"]);
    assert_eq!(items(&all).len(), 97);
    assert!(items(&all).contains(&"p200".to_owned()));

    let refused = |more: &[&str], parts: &[&str]| {
        let outcome = kitestring(&[&["recommend", &run], more].concat());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{more:?}: {}", outcome.stderr);
        assert!(parts.iter().all(|part| outcome.stderr.contains(part)), "{more:?}: {}", outcome.stderr);
    };
    refused(&[], &["nothing says whom to recommend to", "--user"]);
    refused(&["--history", "p5,p6o"], &["--history", "no item `p6o`", "did you mean `p6"]);
    refused(&["--history", "p5:byu"], &["no task `byu`", "did you mean `buy`"]);
    refused(&["--history", "q1234567:buy"], &["no item `q1234567`"]);
    refused(&["--context", "clubb=c1"], &["no feature or scenario `clubb`", "did you mean `club`"]);
    refused(&["--context", "kind=k1"], &["`kind` is the item's"]);
    refused(&["--context", "hour=noon"], &["hour", "`noon` is no number"]);
    refused(&["--context", "club"], &["`club` has no `=`", "--context"]);
    refused(&["--user", "u1", "-k", "0"], &["-k"]);
}

#[test]
fn with_a_ranker_or_a_retriever_alone() {
    let town = Town::new();
    let ranker = town.train(&["train"], "ranker.toml", "ranker");
    let found = recommend(&ranker, &["--user", "u3", "-k", "5", "--with-seen"]);
    assert_eq!((&found["from"], &found["candidates"]), (&Value::from("all items"), &Value::from(96)));
    assert!(of_kind(&found, 3) >= 4 && found["items"][0].get("retriever").is_none(), "{found}");
    let table = done(&["recommend", &ranker, "--user", "u3", "-k", "5"]).stdout;
    assert!(table.contains("items, by visit: the run has no retriever"), "{table}");

    let retriever = town.train(&["retrieve", "train"], "both.toml", "retriever");
    let found = recommend(&retriever, &["--user", "u3", "-k", "5", "--with-seen"]);
    assert_eq!(
        (&found["ordered_by"], &found["items"][0]["tasks"]),
        (&Value::from("retriever"), &serde_json::json!({}))
    );
    let scores = found["items"].as_array().unwrap().iter().map(|item| item["retriever"].as_f64().unwrap());
    assert!(scores.is_sorted_by(|a, b| a >= b) && of_kind(&found, 3) >= 4, "{found}");
    let table = done(&["recommend", &retriever, "--user", "u3", "-k", "5"]).stdout;
    assert!(table.ends_with("the best 5 items by the retriever alone: the run has no ranker\n"), "{table}");
    // Neither.
    let empty = town.folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let outcome = kitestring(&["recommend", &empty.display().to_string(), "--user", "u3"]);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("no run directory"), "{}", outcome.stderr);
}
