# Words of the pages, in English. Sentences say "you"; no code names. Each key stands in ja.ftl as well.

# The frame
skip = Skip to the content
navigation = Main
nav-today = Today’s live
nav-guide = Guide
nav-pickup = Pickup
nav-about = About
log-in = Log in
log-out = Log out
register = Register
provider-time = Provider’s time
own-zone = Times are shown in your zone
theme = Light or dark
theme-auto = As the device
theme-light = Light
theme-dark = Dark
terms = Terms
for-programs = For programs (API)
to-top = To the top page
optional = optional

# Programs
on-air = On air
door-open = Open
door-full = Full
door-silent = Waiting for the broadcaster
door-before = Not yet
door-over = Over
needs-password = Password
members-only = Members
not-listed = Not listed
special-program = Special program
still-alt = What was on air a few seconds ago
seats-taken = Seats taken
seats-of = { $taken } of { $all } seats
seats = { $n ->
        [one] { $n } seat
       *[other] { $n } seats
    }
programs = { $n ->
        [one] { $n } program
       *[other] { $n } programs
    }
minutes-left = { $n } min left
hours-left = { $n } h left
hours-minutes-left = { $h } h { $m } min left
starts = Starts
countdown-days = days
when = When
seats-word = Seats
genre = Genre
by = By
channel = Channel
channel-n = Channel { $n }
number = Number
watch = How to watch
watch-open = Open the address in VLC or another player. No account is needed.
watch-full = Every seat is taken. Try again when somebody leaves: this page shows the seats as of now.
watch-before = The address works once the program is on air. Until then your player finds nothing there.
watch-password = Your player asks for the program’s password. The broadcaster gives it to you.
watch-members = Only members may watch: log in first.
watch-free = Watching costs nothing.
address = Address
copy = Copy
copied = Copied
open-in-player = Open in VLC
add-to-calendar = Add to calendar
qr = Scan to open this page on a phone

# The top page
top-title = Your own live channel
hero = Your own channel, for the time you need it.
hero-more = Book a channel for ten minutes or a day. You know beforehand how many can watch and what it costs. Watching is free.
hero-picture = A timetable with three channels. One program is on air now, and viewers sit below it.
what-it-costs = What it costs
see-guide = See the guide
see-all = See all
on-air-now = On air now
nothing-on-air = Nothing is on air right now
nothing-on-air-more = The guide shows what comes next. Any program there can go into your calendar.
next-today = Next today
nothing-next = Nothing else is planned for today.

# Today’s live
search = Search
search-hint = Title, broadcaster, words
all-genres = All genres
filter = Show
no-filter = Show all
nothing-today = No programs today
nothing-today-more = Look at the guide for other days, or book a slot and be the first.
nothing-found = Nothing fits
nothing-found-more = Try fewer words or another genre.
special-programs = Special programs
private-programs = Private programs
by-number = Open a program by its number
open = Open
pickup-lead = What { $provider } recommends
no-pickups = Nothing is picked right now
no-pickups-more = Today’s live and the guide show everything that is on.

# The guide
times-in = Times are in { $zone }
months = Other months
month-before = Month before
month-after = Month after
days = Other days
day-before = Day before
day-after = Day after
subscribe = Subscribe
and-more = and { $n } more
nothing-this-month = No programs are announced for this month yet.
nothing-that-day = No programs on that day
nothing-that-day-more = Go to another day by the arrows, or back to the month.
by-channel = By channel
by-time = By time
pages = Pages
before = Before
after = Next
page-of = Page { $page } of { $pages }

# About
about-title = A channel when you need one
about-lead = Book a time, send your picture with the program you know, and whoever you like can watch. Nothing has to be installed by your viewers but a player.
cost-lead = You pay for the channel and the time, in slots of { $minutes } minutes.
viewers-pay-nothing = Viewers pay nothing.
no-channels = No channels are on sale yet.
channels = Channels
class = Bit rate up to
a-slot = { $minutes } minutes
an-hour = One hour
cost-more = You are charged only after the broadcast, and only if our server ran as it should. Cancelling is free until you reconfirm.
six-steps = A broadcast in six steps
step-one = Register
step-one-more = As a premium member: your name, address and how you pay.
step-two = Choose a channel and a time
step-two-more = You see what is free, how many can watch and the price, before you decide.
step-three = Accept the terms
step-three-more = Your reservation ID comes by mail. Keep it: it opens the broadcast.
step-four = Reconfirm
step-four-more = Until { $hours } hours before the start you say yes a second time. Then your friends are invited and the settings are ready.
step-five = Go on air
step-five-more = Connect OBS, ffmpeg or GStreamer from { $minutes } minutes before the start.
step-six = Look back
step-six-more = You see how many watched, minute by minute.
to-watch = What viewers need
to-watch-lead = Any player that opens rtsp:// addresses. Each program’s page has its address and opens VLC with a click.
vlc = On a computer, press “Open in VLC” on the program’s page. On a phone, copy the address and choose Network → Open network stream.
ffplay = In a terminal, with the address of the program’s page:
obs = Add a media source, untick “Local file” and paste the address.
ready = Ready?
ready-more = General members watch what is for members. Premium members also broadcast.
register-to-broadcast = Register to broadcast
register-to-watch = Register to watch

# Members
log-in-first = Log in to go on. You come back to where you were.
user-id = User ID
password = Password
forgot = Forgotten password
no-account = No account yet? Register
have-account = Registered already? Log in
member-kind = Kind of membership
general = General
general-may = Watch programs for members
premium = Premium
premium-may = Watch and broadcast
about-you = About you
to-reach-you = To reach and bill you
to-log-in = To log in
name = Name
name-hint = As you write it. Viewers see it beside your programs.
reading = Reading of the name
reading-hint = In Latin letters or kana, so that everyone can read it.
email = E-mail
email-hint = Your reservation IDs go there.
email-public = Others may see my e-mail address where a program shows it
web = Web page
web-hint = Begins with https://
postal = Postal address
phone = Telephone
phone-hint = With the country’s code: +81 3 1234 5678
mobile = Mobile telephone
fax = Fax
by-invoice = You are billed by invoice after each broadcast.
user-id-hint = 3 to 32 letters, digits, dots, dashes or underscores
password-hint = At least 10 characters. A few words in a row are good.
password-again = Password again
register-now = Register
problems = { $n ->
        [one] { $n } thing needs your attention
       *[other] { $n } things need your attention
    }
expected = Expected: { $what }
welcome = Welcome
code-sent = A mail with a code is on its way to you. Enter it to be able to reserve.
enter-code = Enter the code
forgot-lead = We mail you a code with which you set another password.
who = User ID or e-mail
mail-code = Mail me a code
have-code = I have a code
forgot-sent = If there is such a member, a mail with a code is on its way. The code is good for 30 minutes.
code = Code from the mail
code-hint = Capital letters, dashes and spaces do not matter.
new-password = New password
set-password = Set the password
password-set = Your password is set
password-set-more = All other log-ins have ended. Log in with the new password.
mail-again = Mail another code
verify = Verify your e-mail address
verify-lead = Enter the code that we mailed to you.
verify-sent = If an address waits to be verified, another mail is on its way.
verify-now = Verify
verified = Your address is verified
verified-more = Mail to you arrives. You can reserve now if you are a premium member.

# My channel
my-channel = My channel
my-open = To come and on air
my-past = Past programs
my-cancelled = Cancelled
my-none = Nothing is booked
my-none-more = What you book stands here, with what to do next and when.
my-program = See the program’s page
slots-used = { $used } of { $max } slots used this month
viewers-most = at most { $n } watching
state-held = Terms to accept
state-registered = To reconfirm
state-confirmed = Ready
state-finished = Over
state-charged = Over, charged
state-waived = Over, not charged
state-cancelled = Cancelled
total = Total
accept-lead = Read the terms before you accept them:
accept-before = Accept before
accept-tick = I have read the terms and accept them
accept-now = Accept
reconfirm-lead = Say yes a second time. { $total } is then reserved, your friends are invited, and the program is announced.
reconfirm-before = Reconfirm before
reservation-id = Reservation ID
reservation-id-hint = It came by mail when you accepted the terms.
reconfirm-now = Reconfirm
ready-more-mine = All is set. Connect your encoder from a few minutes before the start, with your reservation ID.
cancel = Cancel this reservation
cancel-sure = Cancel for good?
cancel-free = Cancelling costs nothing now. The time is free for others at once.
cancel-costs = You reconfirmed it: cancelling costs the whole amount, { $total }.
cancel-now = Cancel it
cancel-not = Keep it
