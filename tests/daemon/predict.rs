//! Predictions over the socket and on the command line.

use crate::support::{self, Daemon, png, predict, run};
use dermald::wire::message::{ColourMap, Explain, Format, OverlayForm, Predict};
use dermald::wire::{Request, Text};

/// A dark picture that is bright around one place, given as a share of width and height.
fn spot(x: f32, y: f32) -> Vec<u8> {
    let picture = image::RgbImage::from_fn(640, 480, |column, row| {
        let near = (column as f32 / 640.0 - x).abs() < 0.1 && (row as f32 / 480.0 - y).abs() < 0.1;
        image::Rgb([if near { 255 } else { 30 }; 3])
    });
    let mut file = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut file, image::ImageFormat::Jpeg)
        .expect("encoded");
    file.into_inner()
}

fn overlay(format: Format, longest_side: u32) -> Explain {
    Explain::Overlay(OverlayForm {
        format,
        longest_side,
        colour_map: ColourMap::Turbo,
        alpha: 0.5,
    })
}

#[test]
fn photo_under_the_heatmap_comes_along_when_it_is_wanted() {
    let daemon = Daemon::start("nchw", &[]);
    let mut client = daemon.connect();
    let extensions = dermald::wire::Extensions::default().with("photo", Some(Vec::new()));
    let asked = |id, extensions| Predict {
        explain: overlay(Format::Png, 32),
        extensions,
        ..predict(id, png([250, 10, 20]))
    };
    let told = client.predict(asked(1, extensions));
    let photo = told.extensions.get("photo").expect("it was wanted");
    let photo = image::load_from_memory_with_format(photo, image::ImageFormat::Jpeg);
    let photo = photo.expect("a JPEG").into_rgb8();
    let overlay = told.overlay.expect("it was wanted");
    assert_eq!(photo.dimensions(), (overlay.width, overlay.height));
    let [red, green, blue] = photo.get_pixel(5, 5).0;
    assert!(red > 240 && green < 20 && blue < 30, "{red} {green} {blue}");
    let told = client.predict(asked(2, dermald::wire::Extensions::default()));
    assert!(told.extensions.get("photo").is_none());
}

#[test]
fn heatmap_is_hottest_where_the_picture_is_brightest() {
    let daemon = Daemon::start("nchw", &[]);
    let mut connection = daemon.connect();
    for (x, y) in [(0.2, 0.2), (0.8, 0.3), (0.5, 0.8)] {
        let request = Predict {
            explain: Explain::Values,
            ..predict(1, spot(x, y))
        };
        let answer = connection.predict(request);
        let heatmap = answer.heatmap.expect("a heatmap");
        assert_eq!((heatmap.height, heatmap.width), (6, 8));
        assert_eq!(answer.explained, Some(answer.labels.0[0].index));
        let hottest =
            (0..48_usize).max_by(|a, b| heatmap.values.0[*a].total_cmp(&heatmap.values.0[*b]));
        let hottest = hottest.expect("48 values");
        let (column, row) = ((hottest % 8) as f32 + 0.5, (hottest / 8) as f32 + 0.5);
        assert!((column / 8.0 - x).abs() < 0.15, "{heatmap:?}");
        assert!((row / 6.0 - y).abs() < 0.15, "{heatmap:?}");
    }
}

#[test]
fn overlays_have_the_size_and_format_that_were_asked_for() {
    let daemon = Daemon::start("nchw", &[]);
    let mut connection = daemon.connect();
    let forms = [
        (Format::Png, 0, (64, 48), image::ImageFormat::Png),
        (Format::Jpeg, 320, (320, 240), image::ImageFormat::Jpeg),
        (Format::Webp, 100, (100, 75), image::ImageFormat::WebP),
    ];
    for (format, side, size, file_format) in forms {
        let request = Predict {
            explain: overlay(format, side),
            ..predict(1, spot(0.5, 0.5))
        };
        let made = connection.predict(request).overlay.expect("an overlay");
        assert_eq!((made.width, made.height), size);
        assert_eq!(
            image::guess_format(&made.picture.0).expect("a picture"),
            file_format
        );
        let picture = image::load_from_memory(&made.picture.0).expect("a picture");
        assert_eq!((picture.width(), picture.height()), size);
    }
}

#[test]
fn top_k_language_and_notice_are_honoured() {
    let daemon = Daemon::start("nchw", &[]);
    let language = Some(Text::from("vi"));
    let request = Predict {
        top_k: 2,
        language,
        ..predict(1, png([0, 0, 250]))
    };
    let answer = daemon.connect().predict(request);
    assert_eq!(answer.labels.0.len(), 2);
    assert_eq!(&*answer.labels.0[0].name, "blue");
    assert!(answer.labels.0[0].probability >= answer.labels.0[1].probability);
    let notice = answer.extensions.get("notice").expect("a notice");
    assert!(String::from_utf8_lossy(notice).contains("kiểm thử"));
    assert_eq!(answer.model.digest.len(), 64);
}

#[test]
fn prediction_comes_without_its_explanation_when_there_can_be_none() {
    let off = Daemon::start_with(&support::bundle("nchw"), &[], |command| {
        command.env("ENABLE_GRADCAM", "False");
    });
    let unable = Daemon::start("no-gradcam", &[]);
    for (daemon, words) in [(off, "ENABLE_GRADCAM"), (unable, "no Grad-CAM")] {
        let request = Predict {
            explain: overlay(Format::Png, 0),
            ..predict(1, png([250, 0, 0]))
        };
        let answer = daemon.connect().predict(request);
        assert!(!answer.labels.0.is_empty());
        assert!(answer.overlay.is_none() && answer.explained.is_none());
        let why = answer.extensions.get("explanation").expect("a reason");
        assert!(String::from_utf8_lossy(why).contains(words), "{why:?}");
    }
}

#[test]
fn values_out_of_range_are_refused_and_the_connection_goes_on() {
    let daemon = Daemon::start("nchw", &[]);
    let mut connection = daemon.connect();
    let picture = png([250, 0, 0]);
    let mut hot = overlay(Format::Png, 0);
    if let Explain::Overlay(form) = &mut hot {
        form.alpha = f32::NAN;
    }
    let wrong = [
        (
            Predict {
                target: Some(3),
                ..predict(1, picture.clone())
            },
            "target is 3",
        ),
        (
            Predict {
                explain: overlay(Format::Png, 5000),
                ..predict(1, picture.clone())
            },
            "5000",
        ),
        (
            Predict {
                explain: hot,
                ..predict(1, picture.clone())
            },
            "alpha is NaN",
        ),
    ];
    for (request, words) in wrong {
        connection.send(&Request::Predict(request));
        let error = connection.receive_error();
        assert_eq!(&*error.code, "invalid_request");
        assert!(error.message.contains(words), "{}", error.message);
    }
    assert_eq!(
        &*connection.predict(predict(1, picture)).labels.0[0].name,
        "red"
    );
}

#[test]
fn id_that_is_in_use_ends_the_connection() {
    let daemon = Daemon::start("slow", &[]);
    let mut connection = daemon.connect();
    connection.send(&Request::Predict(predict(5, png([1, 1, 1]))));
    connection.send(&Request::Predict(predict(5, png([1, 1, 1]))));
    let error = connection.receive_error();
    assert_eq!((error.id, &*error.code), (None, "invalid_request"));
    assert!(connection.receive().is_none());
}

#[test]
fn photo_that_lies_on_its_side_is_turned_upright() {
    // Bright on the left, and EXIF says "rotate by 90 degrees clockwise": bright at the top.
    let jpeg = with_orientation(&spot(0.1, 0.5), 6);
    let daemon = Daemon::start("nchw", &[]);
    let request = Predict {
        explain: overlay(Format::Png, 64),
        ..predict(1, jpeg)
    };
    let made = daemon
        .connect()
        .predict(request)
        .overlay
        .expect("an overlay");
    assert_eq!((made.width, made.height), (48, 64));
}

/// Puts an EXIF segment with nothing but the orientation behind the start of a JPEG.
fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0]);
    let length = u16::try_from(exif.len() + 2).expect("short").to_be_bytes();
    let mut out = vec![0xff, 0xd8, 0xff, 0xe1];
    out.extend_from_slice(&length);
    out.extend_from_slice(&exif);
    out.extend_from_slice(&jpeg[2..]);
    out
}

#[test]
fn command_line_classifies_and_writes_the_overlay() {
    let daemon = Daemon::start("nchw", &[]);
    let photo = daemon.folder.path().join("green.png");
    std::fs::write(&photo, png([0, 250, 0])).expect("written");
    let photo = photo.to_str().expect("UTF-8");
    let out = daemon.folder.path().join("overlay.webp");
    let socket = daemon.socket.to_str().expect("UTF-8");
    let overlay = out.to_str().expect("UTF-8");
    let (code, text) = run(
        &["predict", photo, "--socket", socket, "--overlay", overlay],
        |_| {},
    );
    assert_eq!(code, 0, "{text}");
    assert!(
        text.lines()
            .nth(1)
            .is_some_and(|line| line.ends_with("green")),
        "{text}"
    );
    let written = std::fs::read(&out).expect("the overlay");
    assert_eq!(
        image::guess_format(&written).expect("a picture"),
        image::ImageFormat::WebP
    );
    let (code, text) = run(&["predict", photo, "--socket", socket, "--json"], |_| {});
    assert_eq!(code, 0, "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["labels"][0]["name"], "green");
    let (code, text) = run(&["predict", "/no/such.jpg", "--socket", socket], |_| {});
    assert_eq!(code, 1);
    assert!(text.contains("/no/such.jpg: No such file"), "{text}");
}

#[test]
fn trace_context_goes_into_the_log_and_what_is_none_does_not() {
    let daemon = Daemon::start("nchw", &["--log-format", "json"]);
    let mut client = daemon.connect();
    let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for text in [context, "00-somebody's name-00f067aa0ba902b7-01"] {
        let mut request = predict(1, png([250, 0, 0]));
        request.traceparent = Some(Text::from(text));
        client.predict(request);
    }
    let log = daemon.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &serde_json::Value| line["message"] == "prediction")
        .collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert_eq!(lines[0]["traceparent"], context, "{log}");
    assert!(!log.contains("somebody"), "{log}");
}
