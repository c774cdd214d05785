//! A gRPC client for one unary call without a library: HTTP/2 by hyper, messages by hand.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};

/// A field of a protobuf message with a length before its bytes (wire type 2).
pub(crate) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

/// `ModelInfer` for one tensor of texts, shape [rows, 1], of one column; outputs by name.
pub(crate) struct Infer<'a> {
    pub(crate) model: &'a str,
    pub(crate) version: &'a str,
    pub(crate) id: &'a str,
    /// Columns by name with their values: numbers as FP64, texts as BYTES.
    pub(crate) numbers: (&'a str, &'a [f64]),
    pub(crate) texts: (&'a str, &'a [&'a str]),
    pub(crate) outputs: &'a [&'a str],
}

impl Infer<'_> {
    fn message(&self) -> Vec<u8> {
        let shape = |rows: usize| [vec![3 << 3 | 2, 2, rows as u8, 1]].concat();
        let tensor = |name: &str, datatype: &str, rows: usize| {
            [field(1, name.as_bytes()), field(2, datatype.as_bytes()), shape(rows)].concat()
        };
        let numbers: Vec<u8> = self.numbers.1.iter().flat_map(|number| number.to_le_bytes()).collect();
        let texts = self.texts.1.iter();
        let texts: Vec<u8> =
            texts.flat_map(|text| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()).collect();
        let mut message = [
            field(1, self.model.as_bytes()),
            field(2, self.version.as_bytes()),
            field(3, self.id.as_bytes()),
            field(5, &tensor(self.numbers.0, "FP64", self.numbers.1.len())),
            field(5, &tensor(self.texts.0, "BYTES", self.texts.1.len())),
        ]
        .concat();
        for output in self.outputs {
            message.extend(field(6, &field(1, output.as_bytes())));
        }
        message.extend(field(7, &numbers));
        message.extend(field(7, &texts));
        message
    }

    /// The answer, or gRPC's status and message where it is not 0.
    pub(crate) fn call(&self, address: &str) -> Result<Answer, (u32, String)> {
        let message = self.message();
        let body = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let io = TokioIo::new(stream);
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            let connection = tokio::spawn(connection);
            let request = hyper::Request::post(format!("http://{address}/inference.GRPCInferenceService/ModelInfer"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Full::new(Bytes::from(body)))
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            let head = response.headers().clone();
            let collected = response.into_body().collect().await.unwrap();
            connection.abort();
            let status = |headers: &hyper::HeaderMap| {
                let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
                text("grpc-status").map(|status| (status.parse().unwrap(), text("grpc-message").unwrap_or_default()))
            };
            let status = collected.trailers().and_then(status).or_else(|| status(&head)).unwrap();
            match status {
                (0, _) => Ok(Answer::read(&collected.to_bytes()[5..])),
                refused => Err(refused),
            }
        })
    }
}

/// Fields of an answer: `model_version`, `id`, and the raw contents of each output by name.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) version: String,
    pub(crate) id: String,
    outputs: Vec<String>,
    raw: Vec<Vec<u8>>,
}

/// Fields of wire type 2 of a message; fields of other types are passed over.
fn fields(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> usize {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let length = varint(&mut bytes);
        if tag & 7 == 2 {
            found.push(((tag >> 3) as u8, bytes[..length].to_vec()));
            bytes = &bytes[length..];
        }
    }
    found
}

impl Answer {
    fn read(message: &[u8]) -> Self {
        let mut answer = Self::default();
        for (number, bytes) in fields(message) {
            let text = || String::from_utf8(bytes.clone()).unwrap();
            match number {
                2 => answer.version = text(),
                3 => answer.id = text(),
                5 => answer.outputs.push(String::from_utf8(fields(&bytes)[0].1.clone()).unwrap()),
                6 => answer.raw.push(bytes),
                _ => {}
            }
        }
        answer
    }

    fn output(&self, name: &str) -> Option<&[u8]> {
        let place = self.outputs.iter().position(|output| output == name)?;
        Some(&self.raw[place])
    }

    /// Scores of the rows.
    pub(crate) fn scores(&self) -> Vec<f32> {
        let bytes = self.output("score").unwrap();
        bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    }

    /// Texts of an output; none where the answer does not have it.
    pub(crate) fn texts(&self, name: &str) -> Option<Vec<String>> {
        let mut bytes = self.output(name)?;
        let mut texts = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
            let (text, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
            texts.push(String::from_utf8(text.to_vec()).unwrap());
            bytes = rest;
        }
        Some(texts)
    }
}
