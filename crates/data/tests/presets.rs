//! The commented configs read the data sets they are about, where these are at hand: set `KITESTRING_DATA` to a folder
//! with one folder a data set.
#![allow(clippy::unwrap_used)]

use arrow_array::Array;
use arrow_array::cast::AsArray;
use kitestring_core::Schema;
use kitestring_data::config::DataConfig;
use kitestring_data::layout::{Opened, open};
use kitestring_data::reader::BadRows;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

/// The `[data]` and `[schema]` of a config; `None` where it has no `[data]`.
fn parse(name: &str) -> Option<(DataConfig, Schema)> {
    let text = std::fs::read_to_string(configs().join(name)).unwrap();
    let mut table: toml::Table = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let data = table.remove("data")?.try_into().unwrap_or_else(|error| panic!("{name}: {error}"));
    let schema = table.remove("schema").unwrap().try_into().unwrap_or_else(|error| panic!("{name}: {error}"));
    Some((data, schema))
}

/// The columns a schema reads.
fn columns(schema: &Schema) -> Vec<String> {
    let special = [&schema.user, &schema.item, &schema.time].into_iter().flatten().cloned();
    let features = schema.features.iter().filter(|feature| feature.history.is_none());
    let features = features.map(|feature| feature.column().to_owned());
    let levels = schema.scenarios.iter().map(|level| level.column().to_owned());
    let tasks = schema.tasks.iter().map(|task| task.column().to_owned());
    special.chain(features).chain(levels).chain(tasks).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What was read of a split.
struct Read {
    rows: u64,
    /// The rows without partner in each side table.
    alone: Vec<u64>,
    first: BTreeMap<String, String>,
}

/// Reads every column of a split that the schema speaks of.
fn read(opened: &Opened, split: Option<&str>, schema: &Schema) -> Read {
    let columns = columns(schema);
    let needed: Vec<&str> = columns.iter().map(String::as_str).collect();
    let rows = opened.read(split, &needed, &BadRows::default()).unwrap();
    let (mut count, mut first) = (0, BTreeMap::new());
    for chunk in rows {
        let chunk = chunk.unwrap();
        if count == 0 {
            for (name, column) in columns.iter().zip(chunk.rows.columns()) {
                let text = arrow_cast::cast(column, &arrow_schema::DataType::Utf8).unwrap();
                let text = text.as_string::<i32>();
                first.insert(name.clone(), text.iter().next().flatten().unwrap_or("").to_owned());
            }
        }
        count += chunk.rows.num_rows() as u64;
    }
    Read { rows: count, alone: opened.without_partner().iter().map(|(_, rows)| *rows).collect(), first }
}

/// Opens a preset's data set, or says why not.
fn opened(config: &str, folder: &str) -> Option<(Opened, Schema)> {
    let Ok(data) = std::env::var("KITESTRING_DATA") else {
        let required = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
        assert!(!(required("CI", "true") && required("KITESTRING_REQUIRE_DATA", "1")), "KITESTRING_DATA is not set");
        println!("skipped: {config} was not tried on data, for KITESTRING_DATA is not set");
        return None;
    };
    let folder = Path::new(&data).join(folder);
    if !folder.is_dir() {
        println!("skipped: {config} was not tried on data, for {} is not there", folder.display());
        return None;
    }
    let (data, schema) = parse(config).unwrap();
    Some((open(&data, &folder).unwrap(), schema))
}

#[test]
fn every_config_is_valid() {
    let mut seen = 0;
    for entry in std::fs::read_dir(configs()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some((data, schema)) = name.ends_with(".toml").then(|| parse(&name)).flatten() {
            data.check().unwrap_or_else(|error| panic!("{name}: {error}"));
            schema.check().unwrap_or_else(|error| panic!("{name}: {error}"));
            seen += 1;
        }
    }
    assert!(seen >= 9, "{seen} configs");
}

/// Writes small files and opens a preset on them.
fn official(config: &str, files: &[(&str, &[u8])]) -> (Opened, Schema, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let (data, schema) = parse(config).unwrap();
    (open(&data, folder.path()).unwrap(), schema, folder)
}

#[test]
fn official_movielens_1m() {
    let (opened, schema, _folder) = official(
        "movielens-1m.toml",
        &[
            ("ratings.dat", b"1::1193::5::978300760\n1::73::3::978302109\n"),
            ("users.dat", b"1::F::1::10::48067\n"),
            (
                "movies.dat",
                b"1193::One Flew Over the Cuckoo's Nest (1975)::Drama\n73::Mis\xe9rables, Les (1995)::Drama|Musical\n",
            ),
        ],
    );
    assert_eq!(opened.layout().name, "GroupLens");
    let read = read(&opened, None, &schema);
    assert_eq!((read.rows, read.alone), (2, vec![0, 0]));
    assert_eq!((read.first["genre"].as_str(), read.first["time"].as_str()), ("Drama", "978300760"));
}

#[test]
fn official_movielens_100k() {
    let genres = "0|".repeat(18) + "1";
    let movie = format!("242|Kolya (1996)|24-Jan-1997||http://us.imdb.com/M/title-exact?Kolya%20(1996)|{genres}\n");
    let (opened, schema, _folder) = official(
        "movielens-100k.toml",
        &[
            ("u.data", b"196\t242\t3\t881250949\n"),
            ("u.user", b"196|49|M|writer|55105\n"),
            ("u.item", movie.as_bytes()),
        ],
    );
    let read = read(&opened, None, &schema);
    assert_eq!((read.rows, read.alone), (1, vec![0, 0]));
    assert_eq!((read.first["age"].as_str(), read.first["year"].as_str()), ("49", "1997"));
}

#[test]
fn official_ncf() {
    let (opened, schema, _folder) = official(
        "movielens-1m-ncf.toml",
        &[
            ("ml-1m.train.rating", b"0\t32\t4\t978824330\n0\t34\t4\t978824330\n"),
            ("ml-1m.test.rating", b"0\t25\t5\t978824351\n"),
            ("ml-1m.test.negative", b"(0,25)\t1064\t174\n"),
        ],
    );
    assert_eq!(opened.splits().collect::<Vec<_>>(), [Some("train"), Some("test")]);
    assert_eq!(read(&opened, Some("train"), &schema).rows, 2);
    assert_eq!(read(&opened, Some("test"), &schema).first["label"], "1");
    assert_eq!(opened.candidates("test", &BadRows::default()).unwrap().unwrap().count(), 1);
    assert!(opened.candidates("valid", &BadRows::default()).unwrap().is_none());
}

#[test]
fn official_kuairand() {
    let log = "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,\
        play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab\n\
        0,1,20220408,400,1649386801301,1,0,0,0,0,0,1,151024,104400,0,0,0,0,1\n";
    let onehot: Vec<String> = (0..18).map(|number| format!("onehot_feat{number}")).collect();
    let user = format!(
        "user_id,user_active_degree,is_lowactive_period,is_live_streamer,is_video_author,follow_user_num,\
        follow_user_num_range,fans_user_num,fans_user_num_range,friend_user_num,friend_user_num_range,register_days,\
        register_days_range,{}\n0,full_active,0,0,1,5,\"(0,10]\",312,\"[100,1k)\",0,0,3624,730+{}\n",
        onehot.join(","),
        ",1".repeat(18)
    );
    let video = "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,\
        server_height,music_id,music_type,tag\n1,441,NORMAL,2020-07-08,ShortImport,0,17200,720,1280,989206467,4,\"12,65\"\n";
    let (opened, schema, _folder) = official(
        "kuairand.toml",
        &[
            ("log_standard_4_08_to_4_21_pure.csv", log.as_bytes()),
            ("log_standard_4_22_to_5_08_pure.csv", log.as_bytes()),
            ("log_random_4_22_to_5_08_pure.csv", b"is_left_out\n"),
            ("user_features_pure.csv", user.as_bytes()),
            ("video_features_basic_pure.csv", video.as_bytes()),
        ],
    );
    assert_eq!(opened.layout().name, "KuaiRand");
    let read = read(&opened, None, &schema);
    assert_eq!((read.rows, read.alone), (2, vec![0, 0]));
    assert_eq!((read.first["tag"].as_str(), read.first["follow_user_num_range"].as_str()), ("12,65", "(0,10]"));
}

#[test]
fn official_gowalla() {
    let (opened, schema, _folder) =
        official("gowalla.toml", &[("train.txt", b"0 5 6\n1 \n2 5\n"), ("test.txt", b"0 7\n1\n")]);
    assert_eq!(opened.splits().collect::<Vec<_>>(), [Some("train"), Some("test")]);
    let train = read(&opened, Some("train"), &schema);
    assert_eq!((train.rows, train.first["item"].as_str(), train.first["visit"].as_str()), (3, "5", "1"));
    assert_eq!(read(&opened, Some("test"), &schema).rows, 1);
}

#[test]
fn official_wikispeedia() {
    let (opened, schema, _folder) = official(
        "wikispeedia.toml",
        &[
            ("links.tsv", b"# FORMAT: linkSource linkTarget\n\n%C3%85land\tFinland\n"),
            ("categories.tsv", b"# FORMAT\n\nFinland\tsubject.Countries\nFinland\tsubject.Geography.Europe\n"),
        ],
    );
    let read = read(&opened, None, &schema);
    assert_eq!((read.rows, read.alone), (1, vec![1, 0]));
    assert_eq!((read.first["source_title"].as_str(), read.first["source_category"].as_str()), ("Åland", ""));
    assert_eq!(read.first["target_category"], "[subject.Countries, subject.Geography.Europe]");
}

#[test]
fn official_criteo() {
    // A line of every length: the last fields have no value where it ends early.
    let fields = |last: usize| -> String { (1..=last).map(|field| format!("\tf{field}")).collect() };
    let numbers = "\t1\t-2\t\t4\t5\t6\t7\t8\t9\t10\t11\t\t13";
    let text = format!("0{numbers}{}\n1{numbers}{}\n1{numbers}{}\n", fields(26), fields(24), fields(23));
    let (opened, schema, _folder) = official("criteo.toml", &[("train.txt", text.as_bytes())]);
    let read = read(&opened, None, &schema);
    assert_eq!((read.rows, read.first["I2"].as_str(), read.first["C26"].as_str()), (3, "-2", "f26"));
    let names = |rest: &str| {
        let all = (1..=13).map(|number| format!("I{number}")).chain((1..=26).map(|number| format!("C{number}")));
        format!("label,{}\n0{rest}\n", all.collect::<Vec<_>>().join(","))
    };
    let bars = names(&",1".repeat(39));
    let files = ["train.csv", "valid.csv", "test.csv"].map(|name| (name, bars.as_bytes()));
    let (opened, schema, _folder) = official("criteo.toml", &files);
    assert_eq!(opened.layout().name, "BARS");
    assert_eq!(rows_of(&opened, Some("valid"), &schema), 1);
}

#[test]
fn official_avazu() {
    let header = "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,device_ip,\
                  device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21\n";
    let text = format!("{header}1000009418151094273,0,14102100,1005,0,1fbe01fe{}\n", ",x".repeat(18));
    let (opened, schema, _folder) = official("avazu.toml", &[("train.csv", text.as_bytes())]);
    let read = read(&opened, None, &schema);
    assert_eq!((read.rows, read.first["hour"].as_str(), read.first["site_id"].as_str()), (1, "14102100", "1fbe01fe"));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
    let (opened, schema, _folder) = official("avazu.toml", &[("train.gz", &packed.finish().unwrap())]);
    assert_eq!((opened.layout().name.as_str(), rows_of(&opened, None, &schema)), ("Kaggle, packed", 1));
}

/// The rows of a split.
fn rows_of(opened: &Opened, split: Option<&str>, schema: &Schema) -> u64 {
    read(opened, split, schema).rows
}

#[test]
fn movielens_1m() {
    let Some((opened, schema)) = opened("movielens-1m.toml", "ml-1m") else { return };
    let read = read(&opened, None, &schema);
    // 1,000,209 less the 598 ratings of movies with fewer than five.
    assert_eq!((read.rows, read.alone), (999_611, vec![0, 0]));
    assert_eq!(read.first["genre"], "Drama");
}

#[test]
fn movielens_1m_ncf() {
    let Some((opened, schema)) = opened("movielens-1m-ncf.toml", "ml-1m") else { return };
    let train = read(&opened, Some("train"), &schema);
    // All but each user's held-out one: the rule that numbers users and items finds every one of them.
    assert_eq!(train.rows, 1_000_209 - 6_040);
    assert_eq!((train.first["user"].as_str(), train.first["item"].as_str()), ("0", "0"));
    assert_eq!(read(&opened, Some("test"), &schema).rows, 6_040);
    let lists = opened.candidates("test", &BadRows::default()).unwrap().unwrap();
    let counts = lists.map(|chunk| {
        let rows = chunk.unwrap().rows;
        let lists = rows.column(2).as_string::<i32>().clone();
        assert!(lists.iter().all(|list| list.unwrap().split('\t').count() == 99));
        lists.len()
    });
    assert_eq!(counts.sum::<usize>(), 6_040);
}

#[test]
fn movielens_100k() {
    let Some((opened, schema)) = opened("movielens-100k.toml", "ml-100k") else { return };
    let read = read(&opened, None, &schema);
    assert_eq!((read.rows, read.alone), (100_000, vec![0, 0]));
    assert_eq!((read.first["age"].as_str(), read.first["year"].as_str()), ("49", "1996"));
}

#[test]
fn frappe() {
    let Some((opened, schema)) = opened("frappe-dnn.toml", "frappe") else { return };
    assert_eq!(read(&opened, Some("train"), &schema).rows, 202_005);
    assert_eq!(read(&opened, Some("valid"), &schema).rows, 57_722);
}

#[test]
fn amazon() {
    let Some((opened, schema)) = opened("amazon-din.toml", "amazon-fed-din") else { return };
    let read = read(&opened, None, &schema);
    assert_eq!((read.rows, read.first["history"].as_str()), (80_708, ""));
}

#[test]
fn census() {
    let Some((opened, schema)) = opened("census-income.toml", "census-income-kdd") else { return };
    let read = read(&opened, None, &schema);
    assert_eq!((read.rows, read.first["income"].as_str()), (66_508, "- 50000."));
    assert_eq!(read.first["citizenship"], "Foreign born- Not a citizen of U S");
}

#[test]
fn criteo() {
    let Ok(data) = std::env::var("KITESTRING_DATA") else {
        println!("skipped: criteo.toml was not tried on data, for KITESTRING_DATA is not set");
        return;
    };
    let file = Path::new(&data).join("samples/criteo_999.txt");
    if !file.is_file() {
        println!("skipped: criteo.toml was not tried on data, for {} is not there", file.display());
        return;
    }
    let (data, schema) = parse("criteo.toml").unwrap();
    let opened = open(&data, &file).unwrap();
    let read = read(&opened, None, &schema);
    // Half of its lines end before the last fields.
    assert_eq!((read.rows, read.first["C1"].as_str(), read.first["C26"].as_str()), (1000, "68fd1e64", "9727dd16"));
}

#[test]
fn samples_of_published_layouts() {
    for (config, rows) in [
        ("ali-ccp.toml", &[(Some("train"), 100), (Some("valid"), 50), (Some("test"), 50)][..]),
        ("aliexpress.toml", &[(Some("train"), 100), (Some("test"), 20)]),
        ("kuairand.toml", &[(None, 200)]),
    ] {
        let Some((opened, schema)) = opened(config, "samples") else { return };
        for (split, expected) in rows {
            assert_eq!(read(&opened, *split, &schema).rows, *expected, "{config} {split:?}");
        }
    }
}
