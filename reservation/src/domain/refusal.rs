//! Why a request was refused: a value that names the reason and the next step, in each language.
//!
//! Owns: [`Refusal`] and [`KINDS`]: code, status, title, text and next step, each declared once, in one table.
//! Not here: which address of the API comes next (`http`), how an answer looks (`http`, pages).
//! Invariant: no text shows a secret or an address of the API; what went wrong inside is for the log.

use std::borrow::Cow;

use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::{Map, Value};
use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelName, ChannelNumber},
};
use strum::IntoStaticStr;

use super::{
    member::{CardQuestion, Scope},
    reservation::State,
    words::{Amount, Language},
};

/// A text in each language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    english: Cow<'static, str>,
    japanese: Cow<'static, str>,
}

impl Text {
    /// The same in both languages.
    pub fn new(english: impl Into<Cow<'static, str>>, japanese: impl Into<Cow<'static, str>>) -> Self {
        Self { english: english.into(), japanese: japanese.into() }
    }

    /// In one of them.
    pub fn of(&self, language: Language) -> &str {
        match language {
            Language::English => &self.english,
            Language::Japanese => &self.japanese,
        }
    }
}

/// One item that is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// Its name, as in the request: `program.title`.
    pub field: Cow<'static, str>,
    /// What would be right: "1 to 80 characters on one line".
    pub expected: Text,
}

impl FieldProblem {
    /// `expected`: what would be right, in English and in Japanese.
    pub fn new(
        field: impl Into<Cow<'static, str>>,
        english: impl Into<Cow<'static, str>>,
        japanese: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field: field.into(), expected: Text::new(english, japanese) }
    }
}

/// As the API shows it.
impl Serialize for FieldProblem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("FieldProblem", 2)?;
        shown.serialize_field("field", &self.field)?;
        shown.serialize_field("expected", self.expected.of(Language::English))?;
        shown.end()
    }
}

/// One item is wrong.
impl From<FieldProblem> for Refusal {
    fn from(problem: FieldProblem) -> Self {
        Self::Invalid(vec![problem])
    }
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, Serialize)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is its own word")]
pub enum Thing {
    Address,
    Channel,
    Date,
    Delivery,
    Link,
    Member,
    Notice,
    Payment,
    Pickup,
    Program,
    Reservation,
    Token,
    Viewer,
    Webhook,
}

impl Thing {
    fn english(self) -> &'static str {
        self.into()
    }

    const fn japanese(self) -> &'static str {
        match self {
            Self::Address => "アドレス",
            Self::Channel => "チャンネル",
            Self::Date => "日付",
            Self::Delivery => "送信されたイベント",
            Self::Link => "送信リンク",
            Self::Member => "会員",
            Self::Notice => "通知",
            Self::Payment => "支払い",
            Self::Pickup => "おすすめ",
            Self::Program => "番組",
            Self::Reservation => "予約",
            Self::Token => "トークン",
            Self::Viewer => "視聴者",
            Self::Webhook => "Webhook",
        }
    }
}

/// What was asked of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, Serialize)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is its own word")]
pub enum Command {
    AcceptTerms,
    Cancel,
    Change,
    End,
    Extend,
    Reconfirm,
    ReissueId,
    Settings,
}

impl Command {
    fn english(self) -> &'static str {
        self.into()
    }

    const fn japanese(self) -> &'static str {
        match self {
            Self::AcceptTerms => "規約への同意",
            Self::Cancel => "取り消し",
            Self::Change => "変更",
            Self::End => "終了",
            Self::Extend => "延長",
            Self::Reconfirm => "再確認",
            Self::ReissueId => "予約IDの再発行",
            Self::Settings => "設定ファイルの取得",
        }
    }
}

/// What all refusals of one kind say: in English, in Japanese.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Names it in the API.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    title: [&'static str; 2],
    next: [&'static str; 2],
}

impl Kind {
    /// What it is.
    pub const fn title(&self, language: Language) -> &'static str {
        self.title[language as usize]
    }

    /// What to do next.
    pub const fn next(&self, language: Language) -> &'static str {
        self.next[language as usize]
    }
}

/// Each row: the variant with its fields, code, status; then title, what is particular about this one, and the next step,
/// in English and in Japanese. A variant without a row cannot be written.
macro_rules! refusals {
    ($(
        $(#[$doc:meta])*
        $name:ident $({ $($field:ident: $type:ty),* })? $(($only:ident: $inner:ty))? = $code:literal $status:literal
            $title:literal [$($detail:tt)*] $next:literal
            $title_ja:literal [$($detail_ja:tt)*] $next_ja:literal;
    )*) => {
        /// Why a request was refused.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Refusal {
            $($(#[$doc])* $name $({ $(#[expect(missing_docs, reason = "the text says it")] $field: $type),* })? $(($inner))?,)*
        }

        /// All kinds there are.
        pub const KINDS: &[Kind] = &[
            $(Kind { code: $code, status: $status, title: [$title, $title_ja], next: [$next, $next_ja] }),*
        ];

        impl Refusal {
            /// Of which kind it is.
            pub const fn kind(&self) -> &'static Kind {
                match self {
                    $(Self::$name { .. } => &const {
                        Kind { code: $code, status: $status, title: [$title, $title_ja], next: [$next, $next_ja] }
                    }),*
                }
            }

            /// What is particular about this one.
            pub fn detail(&self, language: Language) -> String {
                match self {
                    $(
                        Self::$name $({ $($field),* })? $(($only))? => {
                            $($(let _ = $field;)*)?
                            $(let _ = $only;)?
                            match language {
                                Language::English => format!($($detail)*),
                                Language::Japanese => format!($($detail_ja)*),
                            }
                        }
                    )*
                }
            }

            /// Its parameters by name, for programs.
            pub fn parameters(&self) -> Map<String, Value> {
                let mut parameters = Map::new();
                match self {
                    $(Self::$name $({ $($field),* })? $(($only))? => {
                        $($(add(&mut parameters, stringify!($field), $field);)*)?
                        $(add(&mut parameters, stringify!($only), $only);)?
                    })*
                }
                parameters
            }
        }
    };
}

fn add(parameters: &mut Map<String, Value>, name: &str, value: &impl Serialize) {
    // What cannot be written, none of our types, is left out.
    parameters.extend(serde_json::to_value(value).ok().map(|value| (name.to_owned(), value)));
}

refusals! {
    /// The body is no JSON.
    BadJson { line: usize, column: usize } = "bad-json" 400
        "The body is not JSON" ["It stops being JSON at line {line}, column {column}."]
        "Send a JSON object in UTF-8, as the documentation shows."
        "本文がJSONではありません" ["{line}行{column}文字目からJSONとして読めません。"]
        "ドキュメントのとおり、UTF-8のJSONオブジェクトを送ってください。";
    /// A header or the body cannot be read.
    BadRequest { problem: &'static str } = "bad-request" 400
        "The request cannot be read" ["{problem}"]
        "Correct what the detail names and send the request again."
        "リクエストを読み取れません" ["{problem}"]
        "示された箇所を直して、もう一度送ってください。";
    /// No valid session or token came with the request.
    NotLoggedIn = "not-logged-in" 401
        "Not logged in" ["No valid log-in or token came with the request."]
        "Log in, or send a token."
        "ログインしていません" ["有効なログインまたはトークンがありません。"]
        "ログインするか、トークンを送ってください。";
    /// Nobody by that user ID, or another password: which of the two is not told.
    WrongLogIn = "wrong-log-in" 401
        "User ID or password is wrong" ["No member has that user ID and password."]
        "Check both and try again; after several tries, wait a while."
        "ユーザーIDまたはパスワードが違います" ["そのユーザーIDとパスワードの会員はいません。"]
        "両方を確かめて、もう一度入力してください。何度か間違えたときは、しばらくお待ちください。";
    /// The payment provider declined; its own words for the member.
    PaymentDeclined { reason: String } = "payment-declined" 402
        "The payment was declined" ["The payment company says: {reason}"]
        "Ask the card's company, or register another card, and try again."
        "支払いが承認されませんでした" ["決済会社の回答: {reason}"]
        "カード会社に問い合わせるか、別のカードを登録して、もう一度お試しください。";
    /// The card's company wants to ask the member first.
    CardQuestion(question: CardQuestion) = "card-question" 402
        "The card company wants to ask you" ["{}: the card's company asks you for a confirmation.",
            if question.is_about_payment() { "The payment is not made yet" } else { "The card is not registered yet" }]
        "Answer the card company's question, then send the same request again."
        "カード会社による本人確認が必要です" ["{}。カード会社が確認を求めています。",
            if question.is_about_payment() { "支払いはまだ行われていません" } else { "カードはまだ登録されていません" }]
        "カード会社の確認に答えてから、同じ内容をもう一度送ってください。";
    /// The card's company wants to ask whoever registers, which it can do once there is a member.
    RegisterFirst = "register-first" 402
        "The card company wants to ask you, and asks only members"
        ["Nothing was registered: this card's company asks for a confirmation."]
        "Register as a general member, log in, and become a premium member then."
        "カード会社の本人確認は会員登録の後に行われます" ["登録は行われていません。このカードには本人確認が必要です。"]
        "まず一般会員として登録し、ログインしてからプレミアム会員になってください。";
    /// A request that changes something did not come from a page of ours.
    Csrf = "csrf" 403
        "The request does not show that it comes from our own page"
        ["The request comes from another page, or lacks the proof that it comes from ours."]
        "Load the page again and repeat it there."
        "このサイトのページからの操作と確認できません" ["別のページからの操作か、確認の情報が欠けています。"]
        "ページを読み込み直して、もう一度操作してください。";
    /// The operator has blocked the member.
    Blocked = "blocked" 403
        "The member is blocked" ["The operator has blocked this member."]
        "Write to the operator of this server."
        "この会員は利用を停止されています" ["運営者がこの会員の利用を停止しました。"]
        "このサーバーの運営者に連絡してください。";
    /// The token's scopes do not cover this.
    Scope(scope: Scope) = "scope" 403
        "The token may not do this" ["This needs the scope `{scope}`."]
        "Make a token that has the scope that the detail names."
        "このトークンでは行えません" ["スコープ「{scope}」が必要です。"]
        "必要なスコープを持つトークンを作ってください。";
    /// Only a premium member may.
    NotPremium = "not-premium" 403
        "Only a premium member may do this" ["A general member may only watch."]
        "Become a premium member."
        "プレミアム会員だけが行えます" ["一般会員は視聴のみ行えます。"]
        "プレミアム会員になってください。";
    /// Only an operator may.
    NotOperator = "not-operator" 403
        "Only an operator may do this" ["This member does not run the server."]
        "Log in as an operator."
        "運営者だけが行えます" ["この会員は運営者ではありません。"]
        "運営者としてログインしてください。";
    /// That is not the reservation ID of this reservation.
    WrongReservationId = "wrong-reservation-id" 403
        "That is not the reservation ID of this reservation" ["What was typed is not the valid reservation ID."]
        "Type the ID from the mail; if it is lost, have another one mailed."
        "この予約の予約IDではありません" ["入力された予約IDは有効ではありません。"]
        "メールに書かれた予約IDを入力してください。なくしたときは再発行できます。";
    /// A code that was mailed: used up, replaced, too old, or never made.
    WrongCode = "wrong-code" 403
        "That code is not valid" ["The code was used or replaced, is too old, or never was."]
        "Type it as the newest mail has it, or have another one mailed."
        "この確認コードは使えません" ["使用済み、差し替え済み、期限切れ、または誤ったコードです。"]
        "最新のメールのとおりに入力するか、もう一度メールを受け取ってください。";
    /// The member has not shown yet that mail to the address arrives.
    EmailUnverified = "email-unverified" 403
        "Your address is not verified yet" ["Members show that their mail arrives before they reserve."]
        "Enter the code of the mail that you got; it can be mailed again."
        "メールアドレスがまだ確認されていません" ["予約の前に、メールが届くことの確認が必要です。"]
        "届いたメールの確認コードを入力してください。メールはもう一度受け取れます。";
    /// Not there, or not for whoever asks to see.
    NotFound(what: Thing) = "not-found" 404
        "Nothing is here for you" ["There is no such {}, or it is not yours.", what.english()]
        "Check the address; what is not yours or not listed is not shown."
        "見つかりません" ["その{}は存在しないか、あなたのものではありません。", what.japanese()]
        "アドレスを確かめてください。ご自分のものでないもの、非公開のものは表示されません。";
    /// No address looks like that one; the parts of it that are wrong, where they are known.
    NoSuchAddress(fields: Vec<FieldProblem>) = "no-such-address" 404
        "Nothing can be at this address" ["No address looks like this. {}", described(fields, Language::English)]
        "Check the address; the documentation lists all there are."
        "そのアドレスには何もありません" ["その形のアドレスはありません。{}", described(fields, Language::Japanese)]
        "アドレスを確かめてください。";
    /// The address takes other methods.
    MethodNotAllowed = "method-not-allowed" 405
        "This address does not know that method" ["The method is not known here."]
        "Use one of the methods that the `Allow` header names."
        "このアドレスではそのメソッドを使えません" ["そのメソッドは使えません。"]
        "`Allow` ヘッダーにあるメソッドを使ってください。";
    /// The body did not come in time.
    TooSlow { seconds_max: u64 } = "too-slow" 408
        "The body did not come in time" ["A body must be here within {seconds_max} s."]
        "Send it again, over a faster connection."
        "本文が時間内に届きませんでした" ["本文は{seconds_max}秒以内に届く必要があります。"]
        "より速い接続で、もう一度送ってください。";
    /// Another reservation has a slot of the window. `taken`: the starts of such slots, ascending, as far as known.
    SlotTaken { channel: ChannelNumber, taken: Vec<WallTime> } = "slot-taken" 409
        "Somebody has a slot of that window" ["Taken on channel {channel}: {}.", list(taken)]
        "Choose a window without the slots that are taken."
        "その時間帯には他の予約があります" ["チャンネル{channel}で予約済みの枠: {}", list(taken)]
        "予約済みの枠を含まない時間帯を選んでください。";
    /// The member's slots of that month would be more than the limit.
    MonthLimit { slots_max: u32, used: u32, asked: u32 } = "month-limit" 409
        "More slots than one member may have in that month"
        ["{used} of {slots_max} slots of that month are used, {asked} more were asked for."]
        "Book fewer slots, or a window in another month."
        "その月に予約できる枠数を超えます" ["その月は{slots_max}枠のうち{used}枠を使用済みで、さらに{asked}枠が必要です。"]
        "枠数を減らすか、別の月を選んでください。";
    /// The window does not begin and end on slots.
    NotOnSlots { slot_seconds: u64 } = "not-on-slots" 409
        "The window does not begin and end on slots" ["Slots are {slot_seconds} s long, aligned in UTC."]
        "Begin and end at whole slots since midnight UTC, the end after the start."
        "時間帯が枠の区切りに合っていません" ["枠の長さは{slot_seconds}秒で、UTCで区切られます。"]
        "開始と終了を枠の区切りに合わせ、終了を開始より後にしてください。";
    /// More slots at once than are sold at once.
    TooLong { slots_max: u32 } = "too-long" 409
        "More slots at once than are sold at once" ["At most {slots_max} slots are sold at once."]
        "Book fewer slots at once."
        "一度に予約できる枠数を超えています" ["一度に予約できるのは{slots_max}枠までです。"]
        "一度に予約する枠数を減らしてください。";
    /// The window's first slot is over already.
    InThePast = "in-the-past" 409
        "The window's first slot is over" ["The first slot of the window is over already."]
        "Choose a window that begins later; the provider's time counts."
        "最初の枠はすでに終わっています" ["時間帯の最初の枠はすでに終わっています。"]
        "より後に始まる時間帯を選んでください。提供者の時刻が基準です。";
    /// The window lies further ahead than is sold.
    TooFarAhead { until: WallTime } = "too-far-ahead" 409
        "The window lies further ahead than is sold" ["The window must end by {until}."]
        "Choose an earlier window."
        "まだ予約できない先の時間帯です" ["{until} までに終わる必要があります。"]
        "より早い時間帯を選んでください。";
    /// The channel is not sold any more.
    ChannelRetired(channel: ChannelNumber) = "channel-retired" 409
        "That channel is not sold any more" ["Channel {channel} is not sold any more."]
        "Choose another channel."
        "そのチャンネルは販売を終了しました" ["チャンネル{channel}は販売を終了しました。"]
        "別のチャンネルを選んでください。";
    /// The amount is beyond what can be booked.
    AmountTooLarge { max: Amount } = "amount-too-large" 409
        "The amount is beyond what can be booked" ["At most {} minor units can be booked.", max.minor()]
        "Book fewer slots."
        "金額が上限を超えています" ["上限は最小単位で{}です。", max.minor()]
        "枠数を減らしてください。";
    /// The program is not in a state for this.
    WrongState { command: Command, state: State } = "wrong-state" 409
        "The program is not in a state for this" ["`{}` cannot be done while it is `{}`.", command.english(), state.name()]
        "Look at its state, and take the step that it waits for."
        "番組の今の状態では行えません" ["状態が「{}」の間は{}を行えません。", state.name(), command.japanese()]
        "番組の状態を確かめて、次の手順に進んでください。";
    /// The terms were not accepted until then: the reservation was cancelled, its slots are free.
    HoldExpired { until: WallTime } = "hold-expired" 409
        "The terms were not accepted in time" ["The terms had to be accepted before {until}."]
        "The reservation was cancelled and its slots are free: book again and accept the terms in time."
        "規約への同意が間に合いませんでした" ["{until} までに規約に同意する必要がありました。"]
        "予約は取り消され、枠は空いています。もう一度予約し、期限までに規約に同意してください。";
    /// The terms are others than those that the member has read.
    TermsChanged = "terms-changed" 409
        "The terms have changed" ["The terms that count now are not those that you read. Nothing was accepted."]
        "Read the terms again, then accept them."
        "規約が変更されました" ["現在の規約は、お読みになったものと異なります。まだ同意していません。"]
        "規約をもう一度読んでから、同意してください。";
    /// Not reconfirmed until then: the reservation was cancelled, its slots are free.
    ReconfirmationLate { until: WallTime } = "reconfirmation-late" 409
        "The reservation was not reconfirmed in time" ["It had to be reconfirmed before {until}."]
        "It was cancelled and its slots are free: book again, if the window is still free."
        "再確認が間に合いませんでした" ["{until} までに再確認する必要がありました。"]
        "予約は取り消され、枠は空いています。まだ空いていれば、もう一度予約してください。";
    /// An extension is offered only from this moment on.
    ExtensionEarly { from: WallTime } = "extension-early" 409
        "An extension is not offered yet" ["It is offered from {from} on."]
        "Ask again from then on."
        "まだ延長できません" ["{from} から延長できます。"]
        "その時刻になってから、もう一度お試しください。";
    /// Nothing can be given back: nothing was taken, or all of it is given back or on its way. `collecting`: charged and
    /// not collected yet; `refunding`: asked to be given back already, and not known to be.
    NothingToRefund { collecting: Amount, refunding: Amount } = "nothing-to-refund" 409
        "Nothing is there to be given back"
        ["{} minor units are still being collected, {} are on their way back, and nothing else of what was taken is left.",
            collecting.minor(), refunding.minor()]
        "Look at the ledger of the reservation; what is still being collected can be given back once it is."
        "返金できる金額がありません"
        ["回収中が最小単位で{}、返金の途中が{}で、ほかに残っている金額はありません。", collecting.minor(), refunding.minor()]
        "この予約の帳簿を確かめてください。回収中の金額は、回収が済めば返金できます。";
    /// More was to be given back than can be.
    RefundTooLarge { left: Amount } = "refund-too-large" 409
        "More than can be given back" ["At most {} minor units can be given back.", left.minor()]
        "Give back less, or name no amount to give back all of it."
        "返金できる金額を超えています" ["返金できるのは最小単位で{}までです。", left.minor()]
        "金額を減らすか、全額を返金するときは金額を指定しないでください。";
    /// Only a charge can be tried again.
    NoCharge = "no-charge" 409
        "Only a charge can be tried again" ["That payment is no charge."]
        "Choose a charge that was declined."
        "再請求できるのは請求だけです" ["その支払いは請求ではありません。"]
        "承認されなかった請求を選んでください。";
    /// The member has no payment method.
    NoPaymentMethod = "no-payment-method" 409
        "The member has no payment method" ["No card is registered."]
        "Register a card."
        "支払い方法が登録されていません" ["カードが登録されていません。"]
        "カードを登録してください。";
    /// That user ID is taken.
    UserIdTaken = "user-id-taken" 409
        "That user ID is taken" ["Another member has that user ID."]
        "Choose another one."
        "そのユーザーIDは使われています" ["別の会員がそのユーザーIDを使っています。"]
        "別のユーザーIDを選んでください。";
    /// That address belongs to a member.
    EmailTaken = "email-taken" 409
        "That address belongs to a member" ["Another member has that address."]
        "Log in, or give another address."
        "そのメールアドレスは会員のものです" ["別の会員がそのメールアドレスを使っています。"]
        "ログインするか、別のメールアドレスを入力してください。";
    /// The same `Idempotency-Key` came with another request.
    KeyReused = "idempotency-key-reused" 409
        "The same Idempotency-Key came with another request" ["That key stands for a request with another content."]
        "Use a fresh key for each new request, and the same key only to repeat the very same one."
        "同じIdempotency-Keyが別の内容に使われました" ["そのキーは別の内容のリクエストに使われています。"]
        "新しいリクエストには新しいキーを、同じリクエストの再送にだけ同じキーを使ってください。";
    /// What is there already: a channel's number or name, a token's name.
    Exists(what: Thing) = "exists" 409
        "It is there already" ["That {} is there already.", what.english()]
        "Choose another number or name."
        "すでに存在します" ["その{}はすでに存在します。", what.japanese()]
        "別の番号または名前を選んでください。";
    /// An operator cannot end the own right to operate.
    OwnRights = "own-rights" 409
        "You cannot take your own rights away" ["An operator cannot block itself, nor stop being one."]
        "Ask another operator."
        "ご自分の権限は取り消せません" ["運営者は自分の利用停止や、自分の権限の取り消しはできません。"]
        "別の運営者に頼んでください。";
    /// The member has as many tokens as one may have.
    TooManyTokens { tokens_max: usize } = "too-many-tokens" 409
        "The member has too many tokens" ["A member may have {tokens_max} tokens."]
        "End a token that is not needed any more."
        "トークンが多すぎます" ["トークンは{tokens_max}個まで作れます。"]
        "使わなくなったトークンを削除してください。";
    /// All channels together would send more than the uplink carries. `seats_max`: seats that fit at the rate that was
    /// asked for.
    UplinkSold { uplink: BitRate, seats_max: u64 } = "uplink-sold" 409
        "More than the uplink carries" ["{seats_max} seats at this rate still fit into the uplink, {uplink}."]
        "Sell fewer seats; or raise `uplink`, or set `oversell`, in [server] of the configuration and start again."
        "回線の容量を超えています" ["回線{uplink}には、この速度であと{seats_max}席が入ります。"]
        "席数を減らすか、設定の[server]で `uplink` を上げるか `oversell` を設定して再起動してください。";
    /// Programs are booked on the channel, and its name stands in the addresses that were mailed for them.
    ChannelNameInUse { name: ChannelName } = "channel-name-in-use" 409
        "The channel's name stands in addresses that were mailed"
        ["Programs are booked on it, and their addresses hold its name, {name}."]
        "Keep the name until nothing is booked on the channel, or retire it and sell another."
        "チャンネル名はすでに送ったアドレスに使われています" ["予約済みの番組のアドレスに名前「{name}」が含まれています。"]
        "予約がなくなるまで名前を変えないか、このチャンネルの販売を終えて別のものを売ってください。";
    /// The account cannot be erased while something is open: reservations, or money.
    AccountOpen { reservations: u32, owes: bool } = "account-open" 409
        "The account cannot be erased yet" ["{reservations} reservations are open{}.",
            if *owes { ", and money is owed or on its way" } else { "" }]
        "Cancel what is open or wait until it is settled; ask the operator about what is owed."
        "アカウントはまだ消去できません" ["未完了の予約が{reservations}件あります{}。",
            if *owes { "。また、未払いまたは処理中の料金があります" } else { "" }]
        "予約を取り消すか、精算が終わるまでお待ちください。未払いの料金は運営者にお問い合わせください。";
    /// It was changed since it was read.
    Stale { version: i64 } = "stale" 412
        "It was changed since you read it" ["It is at version {version} now."]
        "Read it again and repeat your change."
        "読み込んだ後に変更されました" ["今の版は{version}です。"]
        "読み込み直して、もう一度変更してください。";
    /// The body is longer than is read.
    TooLarge { bytes_max: usize } = "too-large" 413
        "The body is too large" ["The most is {bytes_max} bytes."]
        "Send less."
        "送られた内容が大きすぎます" ["上限は{bytes_max}バイトです。"]
        "内容を短くしてください。";
    /// The address is longer than is read.
    UrlTooLong { bytes_max: usize } = "url-too-long" 414
        "The address is too long" ["The most is {bytes_max} bytes of path and query."]
        "Use a shorter address."
        "アドレスが長すぎます" ["パスとクエリは合わせて{bytes_max}バイトまでです。"]
        "アドレスを短くしてください。";
    /// The body is of another format.
    MediaType { expected: &'static str } = "media-type" 415
        "The body's format is not known here" ["Bodies are {expected} here."]
        "Send it in that format, and say so in `Content-Type`."
        "本文の形式に対応していません" ["ここでは {expected} を受け付けます。"]
        "その形式で送り、`Content-Type` に示してください。";
    /// Items are missing or wrong; each is named, all at once.
    Invalid(fields: Vec<FieldProblem>) = "invalid" 422
        "Items are missing or wrong" ["{}", described(fields, Language::English)]
        "Correct every item that is named and send it again."
        "入力に不足または誤りがあります" ["{}", described(fields, Language::Japanese)]
        "示された項目をすべて直して、もう一度送ってください。";
    /// An edit came without the version that it is about.
    NoIfMatch = "if-match-required" 428
        "An edit must say what it edits" ["`If-Match` is missing."]
        "Read it, and send its `ETag` as `If-Match`."
        "どの版を変更するのか示されていません" ["`If-Match` がありません。"]
        "読み込んでから、その `ETag` を `If-Match` として送ってください。";
    /// Too many attempts; try again after so many seconds.
    TooMany { retry_after: u64 } = "too-many" 429
        "Too many attempts" ["Too many attempts: try again in {retry_after} s."]
        "Wait that long and try again."
        "試行回数が多すぎます" ["{retry_after}秒後にもう一度お試しください。"]
        "その時間だけ待ってから、もう一度お試しください。";
    /// Something in this program or its surroundings is broken.
    Internal = "internal" 500
        "The server failed" ["The operator finds the reason in the log."]
        "Try again; if it fails again, tell the operator when it happened."
        "サーバーで問題が起きました" ["原因は運営者がログで確認できます。"]
        "もう一度お試しください。続くときは、発生した時刻を運営者に伝えてください。";
    /// The database does not answer.
    Unavailable = "unavailable" 503
        "The server cannot answer now" ["The database cannot be asked now."]
        "Try again in a few seconds; with the same Idempotency-Key nothing is done twice."
        "今は応答できません" ["データベースが応答しません。"]
        "数秒後にもう一度お試しください。";
    /// The payment provider cannot be reached, or is slow; nothing was charged.
    PaymentUnavailable = "payment-unavailable" 503
        "The payment company cannot be asked now" ["The payment company does not answer."]
        "Try again in a minute; nothing was charged."
        "決済会社が応答しません" ["決済会社が応答しません。"]
        "1分後にもう一度お試しください。請求は行われていません。";
}

impl Refusal {
    /// What to do next.
    pub fn next(&self, language: Language) -> &'static str {
        let step = match self {
            // What is the account's alone no token covers.
            Self::Scope(Scope::Account) => {
                Some(["Log in; no token may do this.", "トークンではなく、ログインして行ってください。"])
            }
            Self::WrongState { state, .. } => step_from(*state),
            _ => None,
        };
        step.map_or_else(|| self.kind().next(language), |step| step[language as usize])
    }

    /// All of it in one line: what is wrong, and what to do next.
    pub fn in_words(&self, language: Language) -> String {
        let detail = self.detail(language);
        format!("{}. {}", detail.trim().trim_end_matches(['.', '。']), self.next(language))
    }

    /// Seconds after which it is worth to ask again.
    pub const fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooMany { retry_after } => Some(*retry_after),
            Self::Unavailable => Some(2),
            Self::PaymentUnavailable => Some(60),
            _ => None,
        }
    }

    /// Items that are wrong, also those that only the database could tell.
    pub fn fields(&self) -> Vec<FieldProblem> {
        match self {
            Self::Invalid(fields) => fields.clone(),
            Self::UserIdTaken => {
                vec![FieldProblem::new(
                    "user_id",
                    "a user ID that nobody has",
                    "ほかの会員が使っていないユーザーID",
                )]
            }
            Self::EmailTaken => {
                vec![FieldProblem::new(
                    "email",
                    "an address that no member has",
                    "ほかの会員が使っていないメールアドレス",
                )]
            }
            _ => Vec::new(),
        }
    }
}

/// The step that a program of that state waits for; `None`: it depends on what was wanted.
const fn step_from(state: State) -> Option<[&'static str; 2]> {
    match state {
        State::Held => Some(["Accept the terms first.", "先に規約に同意してください。"]),
        State::Registered => Some([
            "Reconfirm it first, with the reservation ID from the mail.",
            "先に、メールに書かれた予約IDで再確認してください。",
        ]),
        State::Cancelled(_) => Some([
            "It is cancelled: book again, if the window is still free.",
            "取り消されています。まだ空いていれば、もう一度予約してください。",
        ]),
        State::Finished(_) => Some([
            "It is over, nothing is left to do: book another window.",
            "終了しています。別の時間帯を予約してください。",
        ]),
        State::Confirmed | State::OnAir => None,
    }
}

fn list(times: &[WallTime]) -> String {
    times.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn described(fields: &[FieldProblem], language: Language) -> String {
    let texts = fields.iter().map(|problem| match language {
        Language::English => format!("{}: expected {}", problem.field, problem.expected.english),
        Language::Japanese => format!("{}: {}", problem.field, problem.expected.japanese),
    });
    texts.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_code_of_its_own_and_sentences_in_both_languages() {
        for (at, kind) in KINDS.iter().enumerate() {
            assert!(KINDS[..at].iter().all(|other| other.code != kind.code), "{}", kind.code);
            assert!((400..600).contains(&kind.status), "{}", kind.code);
            assert!(kind.next(Language::English).ends_with('.'), "{}", kind.code);
            assert!(kind.next(Language::Japanese).ends_with('。'), "{}", kind.code);
            for language in [Language::English, Language::Japanese] {
                let texts = [kind.title(language), kind.next(language)];
                assert!(
                    texts.iter().all(|text| !text.is_empty() && !text.contains("/api/")),
                    "{}",
                    kind.code
                );
            }
        }
    }

    #[test]
    fn texts_are_in_the_language_that_is_asked_for() {
        let refusal = Refusal::SlotTaken { channel: ChannelNumber(1), taken: vec![WallTime::from_micros(0)] };
        assert_eq!(refusal.detail(Language::English), "Taken on channel 1: 1970-01-01T00:00:00Z.");
        assert_eq!(refusal.detail(Language::Japanese), "チャンネル1で予約済みの枠: 1970-01-01T00:00:00Z");
        assert_eq!(
            Value::from(refusal.parameters()),
            serde_json::json!({
                "channel": 1, "taken": ["1970-01-01T00:00:00Z"],
            })
        );
        let wrong = Refusal::WrongState { command: Command::Extend, state: State::Held };
        assert_eq!(wrong.next(Language::English), "Accept the terms first.");
    }
}
