//! What a native session learns of a user who takes one of four films at every sight, for those bindings that can learn.

use super::example;
use kitestring_device::app::App;
use kitestring_device::encode::Value;
use kitestring_device::session::Session;

/// What the bindings' scripts print, too: the scores before and after.
pub fn native() -> [Vec<f32>; 2] {
    let mut app = App::new(Session::new(example::opened(&example::artifact(1))).unwrap());
    let at = |app: &mut App, round: usize| -> Vec<f32> {
        let session = app.session().unwrap();
        session.set("age", Value::Number((20 + 7 * round % 50) as f64)).unwrap();
        let rows = example::CANDIDATES.map(|(item, genres, _)| {
            let price = (4 + round % 7) as f64;
            [Value::Text(item), Value::List(genres), Value::Number(price)]
        });
        let rows: Vec<&[Value<'_>]> = rows.iter().map(<[_; 3]>::as_slice).collect();
        session.set_candidates(&["item", "genres", "price"], &rows).unwrap();
        session.rank().unwrap().scores.to_vec()
    };
    let before = at(&mut app, 0);
    app.learn_by(r#"{"most": 200, "learning": {"epochs": 10}}"#).unwrap();
    for round in 0..40 {
        at(&mut app, round);
        for candidate in 0..4 {
            let example = app.show(candidate, candidate as u32 + 1).unwrap();
            assert!(app.label(example, "click", f32::from(candidate == round % 4)).unwrap());
        }
    }
    assert!(app.learn().unwrap().taken);
    [before, at(&mut app, 0)]
}
