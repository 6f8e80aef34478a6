//! Holds a loaded graph against its manifest: names, types, shapes, and labels against the width of
//! the output. Each mistake is told with both sides.

use ort::session::Session;
use ort::value::{Outlet, TensorElementType, ValueType};

use crate::model::{Layout, Manifest};

/// Checks everything that the graph declares.
///
/// # Errors
///
/// The first mistake, as a sentence.
pub fn check(session: &Session, manifest: &Manifest) -> Result<(), String> {
    let input = &manifest.input;
    let (height, width) = (i64::from(input.height), i64::from(input.width));
    let shape = match input.layout {
        Layout::Nhwc => [1, height, width, 3],
        Layout::Nchw => [1, 3, height, width],
    };
    let outlet = find("input.tensor", &input.tensor, session.inputs())?;
    expect("input", outlet, TensorElementType::Float32, &[&shape])?;

    let labels = manifest.labels.0.len();
    let classes = i64::try_from(labels).map_err(|error| error.to_string())?;
    let outlet = find("output.tensor", &manifest.output.tensor, session.outputs())?;
    let declared = expect("output", outlet, TensorElementType::Float32, &[&[1, -1]])?;
    if declared
        .last()
        .is_some_and(|width| *width >= 0 && *width != classes)
    {
        return Err(format!(
            "the manifest has {labels} labels, but output {:?} has {} classes",
            manifest.output.tensor, declared[1]
        ));
    }
    check_gradcam(session, manifest)?;
    check_no_other_inputs(session, manifest)
}

fn check_gradcam(session: &Session, manifest: &Manifest) -> Result<(), String> {
    let Some(gradcam) = &manifest.gradcam else {
        return Ok(());
    };
    let outlet = find("gradcam.heatmap", &gradcam.heatmap, session.outputs())?;
    let shapes: &[&[i64]] = &[&[-1, -1], &[1, -1, -1]];
    expect("output", outlet, TensorElementType::Float32, shapes)?;
    if let Some(target) = &gradcam.target {
        let outlet = find("gradcam.target", target, session.inputs())?;
        expect("input", outlet, TensorElementType::Int64, &[&[1]])?;
    }
    Ok(())
}

/// A graph that wants more than a picture and a class is no model of ours.
fn check_no_other_inputs(session: &Session, manifest: &Manifest) -> Result<(), String> {
    let target = manifest
        .gradcam
        .as_ref()
        .and_then(|gradcam| gradcam.target.as_deref());
    let known = [Some(manifest.input.tensor.as_str()), target];
    session
        .inputs()
        .iter()
        .find(|input| !known.contains(&Some(input.name())))
        .map_or(Ok(()), |input| {
            Err(format!(
                "the graph has an input {:?} that the manifest does not name",
                input.name()
            ))
        })
}

fn find<'a>(key: &str, name: &str, outlets: &'a [Outlet]) -> Result<&'a Outlet, String> {
    outlets
        .iter()
        .find(|outlet| outlet.name() == name)
        .ok_or_else(|| {
            let there: Vec<_> = outlets.iter().map(Outlet::name).collect();
            format!("{key} is {name:?}, but the graph has only {there:?}")
        })
}

/// Checks type and shape; -1 stands for any size on either side. Gives the declared shape.
fn expect<'a>(
    kind: &str,
    outlet: &'a Outlet,
    element: TensorElementType,
    shapes: &[&[i64]],
) -> Result<&'a [i64], String> {
    let name = outlet.name();
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(format!("{kind} {name:?} is no tensor"));
    };
    if *ty != element {
        return Err(format!("{kind} {name:?} is {ty}, expected {element}"));
    }
    let fits = |expected: &&[i64]| {
        expected.len() == shape.len()
            && expected
                .iter()
                .zip(shape.iter())
                .all(|(a, b)| a == b || *a < 0 || *b < 0)
    };
    if !shapes.iter().any(fits) {
        let expected: Vec<_> = shapes.iter().map(|shape| format!("{shape:?}")).collect();
        let expected = expected.join(" or ");
        return Err(format!(
            "{kind} {name:?} has shape {shape}, the manifest means {expected}"
        ));
    }
    Ok(shape)
}
