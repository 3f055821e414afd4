//! Files in the shapes that people have, each from `schema` to a report without an edit of the config.
#![allow(clippy::unwrap_used)]

mod common;

use arrow_array::builder::{LargeListBuilder, LargeStringBuilder, ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use common::kitestring;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Rows of each file.
const ROWS: usize = 360;

/// One row of the world that all files tell of.
struct Row {
    user: usize,
    item: usize,
    price: f64,
    /// Seconds since 1970.
    time: usize,
    click: bool,
}

fn rows() -> impl Iterator<Item = Row> {
    (0..ROWS).map(|row| {
        let (user, item) = (row % 18, (7 * row + row / 18) % 23);
        let price = 1.5 + (item * 31 % 17) as f64 / 4.0;
        Row { user, item, price, time: 1_704_067_200 + 601 * row, click: (user + item + row / 40) % 3 == 0 }
    })
}

/// A time of January 2024 as text.
fn moment(time: usize) -> String {
    let second = time - 1_704_067_200;
    let (day, hour, minute) = (second / 86_400 + 1, second / 3600 % 24, second / 60 % 60);
    format!("2024-01-{day:02} {hour:02}:{minute:02}:{:02}", second % 60)
}

struct Shape {
    folder: TempDir,
    /// What `schema` is given.
    path: PathBuf,
}

impl Shape {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self { folder, path }
    }

    fn parquet(name: &str, columns: Vec<(&str, ArrayRef)>, compression: Compression) -> Self {
        Self::new(name, &parquet(columns, compression))
    }

    /// The guessed config, once it made a report; its `[schema]` has these roles.
    fn report(&self, user: &str, item: &str, tasks: &[&str]) -> (String, toml::Table) {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let guess = kitestring(&["schema", &self.path.display().to_string()]);
        assert_eq!((guess.code, guess.stderr.as_str()), (Some(0), ""), "{}", guess.stdout);
        let text = guess.stdout;
        std::fs::write(path("guess.toml"), &text).unwrap();
        let config: toml::Table = toml::from_str(&text).unwrap();
        let schema = config["schema"].as_table().unwrap().clone();
        assert_eq!([&schema["user"], &schema["item"]].map(|name| name.as_str().unwrap()), [user, item], "{text}");
        let found = schema["tasks"].as_array().unwrap().iter().map(|task| task["name"].as_str().unwrap().to_owned());
        assert_eq!(found.collect::<Vec<_>>(), tasks, "{text}");
        let (config, out) = (path("guess.toml"), path("run"));
        let run =
            kitestring(&["run", &config, "--out", &out, "--set", "train.epochs=1", "--set", "evaluate.bootstrap=0"]);
        assert_eq!(run.code, Some(0), "{}\n{text}", run.stderr);
        assert!(Path::new(&out).join("report.html").is_file());
        (text, schema)
    }
}

/// The kind and the side of a feature; `None` where there is none.
fn feature(schema: &toml::Table, name: &str) -> Option<(String, String)> {
    let features = schema["features"].as_array().unwrap();
    let found = features.iter().find(|feature| feature["name"].as_str() == Some(name))?;
    let of = found.get("of").and_then(|of| of.as_str()).unwrap_or("context");
    Some((found["kind"].as_str().unwrap().to_owned(), of.to_owned()))
}

fn is(kind: &str, of: &str) -> Option<(String, String)> {
    Some((kind.to_owned(), of.to_owned()))
}

fn parquet(columns: Vec<(&str, ArrayRef)>, compression: Compression) -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)));
    let batch = batch.unwrap();
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn integers(value: impl Fn(&Row) -> usize) -> ArrayRef {
    Arc::new(rows().map(|row| value(&row) as i64).collect::<Int64Array>())
}

/// `DataFrame.to_csv()`: the index, and True and False.
#[test]
fn pandas_csv_with_its_index() {
    let mut text = String::from(",user_id,item_id,price,timestamp,clicked\n");
    for (number, Row { user, item, price, time, click }) in rows().enumerate() {
        let click = if click { "True" } else { "False" };
        text += &format!("{number},{user},{item},{price},{time},{click}\n");
    }
    let (text, schema) = Shape::new("log.csv", text.as_bytes()).report("user_id", "item_id", &["clicked"]);
    assert!(text.contains("# \"\" is left out: it numbers the rows."), "{text}");
    assert_eq!(feature(&schema, "price"), is("numeric", "item"));
    assert_eq!(schema["time"].as_str(), Some("timestamp"));
}

/// `DataFrame.to_parquet()` of a filtered frame: the index as a column, floats for integers with gaps, lists.
#[test]
fn pandas_parquet_with_its_index() {
    let mut tags = ListBuilder::new(StringBuilder::new());
    for row in rows() {
        tags.values().append_value(format!("t{}", row.item % 5));
        tags.values().append_value(format!("t{}", row.item % 3));
        tags.append(true);
    }
    let year = |row: Row| (!row.item.is_multiple_of(4)).then_some(1990.0 + (row.item % 9) as f64);
    let index = (0..ROWS).map(|row| 3 * row as i64 + 1).collect::<Int64Array>();
    let rating = Arc::new(rows().map(|row| (row.user + row.item) as f64 % 5.0 + 1.0).collect::<Float64Array>());
    let columns = vec![
        ("userId", integers(|row| row.user)),
        ("movieId", integers(|row| row.item)),
        ("rating", rating as ArrayRef),
        ("release_year", Arc::new(rows().map(year).collect::<Float64Array>())),
        ("tags", Arc::new(tags.finish())),
        ("__index_level_0__", Arc::new(index)),
    ];
    let shape = Shape::parquet("ratings.parquet", columns, Compression::SNAPPY);
    let (text, schema) = shape.report("userId", "movieId", &["rating"]);
    assert!(text.contains("# \"__index_level_0__\" is left out"), "{text}");
    assert_eq!(feature(&schema, "tags"), is("multi", "item"));
    assert_eq!(feature(&schema, "release_year"), is("categorical", "item"));
}

/// `DataFrame.write_parquet()`: large texts and lists, times in microseconds, structs, zstd.
#[test]
fn polars_parquet() {
    let mut genres = LargeListBuilder::new(LargeStringBuilder::new());
    for row in rows() {
        genres.values().append_value(["rock", "jazz", "folk"][row.item % 3]);
        genres.append(true);
    }
    let meta = StructArray::try_from(vec![("source", integers(|row| row.user % 2))]).unwrap();
    let texts = |value: &dyn Fn(&Row) -> String| -> ArrayRef {
        Arc::new(rows().map(|row| Some(value(&row))).collect::<arrow_array::LargeStringArray>())
    };
    let columns = vec![
        ("listener", texts(&|row| format!("u{}", row.user))),
        ("track_id", texts(&|row| format!("i{}", row.item))),
        ("genres", Arc::new(genres.finish()) as ArrayRef),
        (
            "played_at",
            Arc::new(TimestampMicrosecondArray::from_iter_values(rows().map(|row| row.time as i64 * 1_000_000))),
        ),
        ("meta", Arc::new(meta)),
        ("liked", Arc::new(rows().map(|row| Some(row.click)).collect::<BooleanArray>())),
    ];
    let shape = Shape::parquet("plays.parquet", columns, Compression::ZSTD(ZstdLevel::default()));
    let (text, schema) = shape.report("listener", "track_id", &["liked"]);
    assert!(text.contains("# \"meta\" is left out: it holds objects."), "{text}");
    assert_eq!((schema["time"].as_str(), feature(&schema, "genres")), (Some("played_at"), is("multi", "item")));
}

/// `DataFrameWriter.partitionBy("dt")`: a folder a day, markers and checksums.
#[test]
fn spark_folder_of_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("events");
    for day in 1..=3 {
        let part = events.join(format!("dt=2024-01-0{day}"));
        std::fs::create_dir_all(&part).unwrap();
        let of_day = || rows().filter(move |row| (row.time - 1_704_067_200) / 86_400 == day - 1);
        let column = |value: &dyn Fn(&Row) -> usize| -> ArrayRef {
            Arc::new(of_day().map(|row| value(&row) as i64).collect::<Int64Array>())
        };
        let brand: ArrayRef = Arc::new(of_day().map(|row| Some(format!("b{}", row.item % 6))).collect::<StringArray>());
        let columns = vec![
            ("customer_id", column(&|row| row.user)),
            ("sku", column(&|row| row.item)),
            ("brand", brand),
            ("label", column(&|row| usize::from(row.click))),
        ];
        let name = format!("part-0000{day}-6f1c.c000.snappy.parquet");
        std::fs::write(part.join(&name), parquet(columns, Compression::SNAPPY)).unwrap();
        std::fs::write(part.join(format!(".{name}.crc")), "crc").unwrap();
    }
    std::fs::write(events.join("_SUCCESS"), "").unwrap();
    std::fs::write(folder.path().join("README.md"), "# Events\n").unwrap();
    let (_, schema) = Shape { folder, path: events }.report("customer_id", "sku", &["label"]);
    assert_eq!((schema["time"].as_str(), feature(&schema, "brand")), (Some("dt"), is("categorical", "item")));
}

/// Excel in a country of decimal commas: `sep=;`, a byte order mark, dates as people write them.
#[test]
fn excel_csv_with_decimal_commas() {
    let mut text = String::from("\u{feff}sep=;\r\nCustomer ID;Product ID;Unit price;Order date;Purchased\r\n");
    for (number, Row { user, item, price, click, .. }) in rows().enumerate() {
        let price = price.to_string().replace('.', ",");
        text +=
            &format!("{user};{item};{price};{:02}.01.2024;{}\r\n", number % 28 + 1, if click { "Yes" } else { "No" });
    }
    let (text, schema) = Shape::new("export.csv", text.as_bytes()).report("Customer ID", "Product ID", &["Purchased"]);
    assert!(text.contains("decimal_comma = [\"Unit price\"]"), "{text}");
    assert!(text.contains("# \"Order date\" is left out: it holds dates that are not read"), "{text}");
    assert_eq!(feature(&schema, "Unit price"), is("numeric", "item"));
}

/// `bq extract --destination_format=NEWLINE_DELIMITED_JSON`: integers of 64 bits are texts, records nest and repeat, gzip.
#[test]
fn bigquery_json_lines() {
    let mut text = String::new();
    for Row { user, item, time, click, .. } in rows() {
        let event = if click { "purchase" } else { "view_item" };
        let user = 9_007_199_254_740_993 + user as u64;
        text += &format!(
            "{{\"event_timestamp\":\"{time}000000\",\"event_name\":\"{event}\",\"user_pseudo_id\":\"{user}\",\"item\":{{\"id\":\"{item}\",\
             \"category\":\"c{}\",\"labels\":[\"l{}\",\"l{}\"]}},\"event_params\":[{{\"key\":\"page\",\"value\":\"1\"}}],\"platform\":\"WEB\"}}\n",
            item % 4,
            item % 5,
            item % 3
        );
    }
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    let shape = Shape::new("events-000000000000.json.gz", &packed.finish().unwrap());
    let (text, schema) = shape.report("user_pseudo_id", "item.id", &["purchase"]);
    assert!(text.contains("# \"event_params\" is left out: it holds lists of objects"), "{text}");
    assert_eq!(feature(&schema, "item.labels"), is("multi", "item"));
    assert_eq!(schema["time"].as_str(), Some("event_timestamp"));
}

/// Messages of a Kafka topic, a line each: the event is in a payload, and its kind is one of several.
#[test]
fn kafka_json_lines() {
    let mut text = String::new();
    for (offset, Row { user, item, time, click, .. }) in rows().enumerate() {
        let event = if !click {
            "view"
        } else if offset % 2 == 0 {
            "addtocart"
        } else {
            "transaction"
        };
        text += &format!(
            "{{\"topic\":\"events\",\"partition\":{},\"offset\":{offset},\"timestamp\":{time}000,\"key\":null,\"value\":{{\"visitorId\":{user},\
             \"itemId\":{item},\"event\":\"{event}\",\"transactionId\":{}}}}}\n",
            user % 3,
            if event == "transaction" { offset.to_string() } else { "null".into() }
        );
    }
    let (text, _) = Shape::new("topic.jsonl", text.as_bytes()).report(
        "value.visitorId",
        "value.itemId",
        &["addtocart", "transaction"],
    );
    assert!(text.contains("# \"offset\" is left out: it numbers the rows."), "{text}");
    assert!(text.contains("# \"value.event\" is left out: it tells the events apart"), "{text}");
}

/// `mysql --batch`, or `SELECT … INTO OUTFILE` with a header: tabs, and `\N` for NULL.
#[test]
fn mysql_dump() {
    let mut text = String::from("user_id\titem_id\tage\tcity\tcreated_at\tpurchased\n");
    for Row { user, item, time, click, .. } in rows() {
        let age = if user % 5 == 0 { "\\N".to_owned() } else { (20 + user % 7).to_string() };
        let city = ["Rome", "Oslo", "\\N"][user % 3];
        text += &format!("{user}\t{item}\t{age}\t{city}\t{}\t{}\n", moment(time), u8::from(click));
    }
    let (text, schema) = Shape::new("orders.tsv", text.as_bytes()).report("user_id", "item_id", &["purchased"]);
    assert!(text.contains("\"city\" = [\"\\\\N\"]") || text.contains("\"city\" = ['\\N']"), "{text}");
    assert_eq!((schema["time"].as_str(), feature(&schema, "city")), (Some("created_at"), is("categorical", "user")));
}

/// R's `write.csv()`: row names, everything that is no number in quotes, `NA`.
#[test]
fn csv_of_r() {
    let mut text = String::from("\"\",\"user\",\"item\",\"income\",\"segment\",\"response\"\n");
    for (number, Row { user, item, click, .. }) in rows().enumerate() {
        let income = if user % 4 == 0 { "NA".to_owned() } else { format!("{}.5", 900 + 53 * user) };
        let response = if click { "yes" } else { "no" };
        text += &format!("\"{}\",\"u{user}\",\"i{item}\",{income},\"s{}\",\"{response}\"\n", number + 1, user % 3);
    }
    let (text, schema) = Shape::new("panel.csv", text.as_bytes()).report("user", "item", &["response"]);
    assert!(text.contains("# \"\" is left out: it numbers the rows."), "{text}");
    assert_eq!(feature(&schema, "income"), is("numeric", "user"));
}

/// Postgres' `COPY … TO … CSV HEADER`: booleans as t and f, times with a zone.
#[test]
fn postgres_csv() {
    let mut text = String::from("impression_id,user_id,item_id,shown_at,slot_price,is_clicked\n");
    for (number, Row { user, item, price, time, click }) in rows().enumerate() {
        let click = if click { "t" } else { "f" };
        text += &format!("{},{user},{item},{}.25+00,{price:.2},{click}\n", 7 * number + 3, moment(time));
    }
    let (text, schema) = Shape::new("impressions.csv", text.as_bytes()).report("user_id", "item_id", &["is_clicked"]);
    assert!(text.contains("# \"impression_id\" is left out"), "{text}");
    assert_eq!((schema["time"].as_str(), feature(&schema, "slot_price")), (Some("shown_at"), is("numeric", "item")));
}

/// An outcome of three words is none until somebody says which of them is positive: the message names the one edit.
#[test]
fn the_one_edit_that_a_message_names() {
    let mut text = String::from("user,item,outcome\n");
    for (number, Row { user, item, click, .. }) in rows().enumerate() {
        text += &format!("{user},{item},{}\n", if click { "won" } else { ["lost", "open"][number % 2] });
    }
    let shape = Shape::new("deals.csv", text.as_bytes());
    let path = |name: &str| shape.folder.path().join(name).display().to_string();
    let guess = kitestring(&["schema", &shape.path.display().to_string()]);
    assert_eq!(guess.code, Some(0), "{}", guess.stderr);
    let named = "{ name = \"positive\", column = \"outcome\", equals = \"…\" }";
    assert!(
        guess.stderr.starts_with("note: `outcome` is called an outcome") && guess.stderr.contains(named),
        "{}",
        guess.stderr
    );
    let edited = guess.stdout.replace("tasks = [", &format!("tasks = [\n    {},", named.replace('…', "won")));
    std::fs::write(path("guess.toml"), edited).unwrap();
    let (config, out) = (path("guess.toml"), path("run"));
    let run = kitestring(&["run", &config, "--out", &out, "--set", "train.epochs=1", "--set", "evaluate.bootstrap=0"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}
