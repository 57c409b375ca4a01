//! QR codes of short URLs, which every link of Dub's names.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use png::{BitDepth, ColorType, Encoder, EncodingError};
use qrcode::{Color, QrCode};

use crate::api::dialects::fields::Fields;
use crate::api::error::{Answer, Problem};

/// Longer texts make codes that no camera reads.
const TEXT_MAX_BYTES: usize = 512;
const SIZE_DEFAULT: i64 = 600;
const SIZE_MAX: i64 = 2000;
/// Modules of white around a code, which readers look for.
const QUIET_ZONE: usize = 4;

/// `GET /qr?url=&size=`: a picture, as PNG, since clients refuse other kinds. Needs no key, since it goes into pages.
pub async fn picture(mut fields: Fields) -> Answer<Response> {
    let text = fields.text("url").filter(|text| text.len() <= TEXT_MAX_BYTES);
    let text =
        text.ok_or_else(|| Problem::invalid("url", format!("url must have 1 to {TEXT_MAX_BYTES} bytes")))?;
    let size = fields.number("size").unwrap_or(SIZE_DEFAULT).clamp(1, SIZE_MAX);
    fields.check()?;
    let code = QrCode::new(text).map_err(Problem::internal)?;
    let picture = draw(&code, size.unsigned_abs() as usize).map_err(Problem::internal)?;
    let headers = [(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, "public, max-age=86400")];
    Ok((headers, picture).into_response())
}

/// Every module is a square of whole pixels, so a picture has about the size that was asked for.
fn draw(code: &QrCode, size: usize) -> Result<Vec<u8>, EncodingError> {
    let modules = code.width() + 2 * QUIET_ZONE;
    let scale = size.div_ceil(modules);
    let side = modules * scale;
    let mut pixels = vec![u8::MAX; side * side];
    for (y, row) in pixels.chunks_exact_mut(side).enumerate() {
        for (x, pixel) in row.iter_mut().enumerate() {
            let inside = |at: usize| (at / scale).checked_sub(QUIET_ZONE).filter(|at| *at < code.width());
            if let (Some(x), Some(y)) = (inside(x), inside(y))
                && code[(x, y)] == Color::Dark
            {
                *pixel = 0;
            }
        }
    }
    let mut picture = Vec::new();
    let mut encoder = Encoder::new(&mut picture, side as u32, side as u32);
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::Eight);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn pictures_show_the_code_in_its_quiet_zone() {
        let code = QrCode::new("https://go.test/summer").unwrap();
        let picture = draw(&code, 200).unwrap();
        let mut reader = png::Decoder::new(Cursor::new(picture)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        let (side, modules) = (frame.width as usize, code.width() + 2 * QUIET_ZONE);
        let scale = side / modules;
        assert!((200..250).contains(&side) && side % modules == 0 && frame.height == frame.width, "{side}");
        for (y, x) in (0..modules).flat_map(|y| (0..modules).map(move |x| (y, x))) {
            let zone = QUIET_ZONE..QUIET_ZONE + code.width();
            let is_inside = zone.contains(&x) && zone.contains(&y);
            let is_dark = is_inside && code[(x - QUIET_ZONE, y - QUIET_ZONE)] == Color::Dark;
            let middle = pixels[(y * scale + scale / 2) * side + x * scale + scale / 2];
            assert_eq!(middle == 0, is_dark, "{x} {y}");
        }
    }
}
