//! QR codes of short URLs, which every link of Dub's names.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use qrcode::render::svg::Color;
use qrcode::{QrCode, QrResult};

use crate::api::dialects::fields::Fields;
use crate::api::error::{Answer, Problem};

/// Longer texts make codes that no camera reads.
const TEXT_MAX_BYTES: usize = 512;

/// `GET /qr?url=`: a picture, as SVG. Needs no key, since it goes into pages.
pub async fn picture(mut fields: Fields) -> Answer<Response> {
    let text = fields.text("url").filter(|text| text.len() <= TEXT_MAX_BYTES);
    let text =
        text.ok_or_else(|| Problem::invalid("url", format!("url must have 1 to {TEXT_MAX_BYTES} bytes")))?;
    let svg = draw(&text).map_err(Problem::internal)?;
    let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "public, max-age=86400")];
    Ok((headers, svg).into_response())
}

fn draw(text: &str) -> QrResult<String> {
    let code = QrCode::new(text)?;
    let (dark, light) = (Color("#000"), Color("#fff"));
    Ok(code.render().min_dimensions(300, 300).dark_color(dark).light_color(light).build())
}
