#!/usr/bin/perl
# This client was written from docs/protocol.md alone and is kept as the proof that the page is enough.
# Usage: client.pl SOCKET PHOTO [TOP_K]
use v5.36;
use IO::Socket::UNIX;

my ($path, $photo, $top_k) = @ARGV;
die "usage: client.pl SOCKET PHOTO [TOP_K]\n" unless defined $photo;
my $picture = do { open my $file, '<:raw', $photo or die "$photo: $!\n"; local $/; <$file> };
my $socket = IO::Socket::UNIX->new(Peer => $path) or die "$path: $!\n";
$SIG{PIPE} = 'IGNORE';    # when the daemon closes while we write, its Error can still be read
my $in = '';              # what is left of the message that is being read

# Values: all little-endian; take() refuses to go beyond the end of the message.
sub take($n) { $n <= length $in or die "message ends early\n"; substr $in, 0, $n, '' }
sub u8 { unpack 'C', take(1) }
sub u16 { unpack 'S<', take(2) }
sub u32 { unpack 'L<', take(4) }
sub u64 { unpack 'Q<', take(8) }
sub f32 { unpack 'f<', take(4) }
sub string { take(u64()) }
sub bool { my $b = u8(); $b < 2 ? $b : die "neither 0 nor 1\n" }
sub option($read) { bool() ? $read->() : undef }
sub list($read) { map { $read->() } 1 .. u64() }
sub end { my %e; list(sub { my ($k, $v) = (string(), string()); $e{$k} //= $v }); $in eq '' or die "bytes left over\n"; \%e }

# Frames: a big-endian length, then the message. A read may bring only a part.
sub send_message($m) { $socket->print(pack('N', length $m), $m); $socket->flush }
sub fill($n) {
    my $got = '';
    while (length $got < $n) { sysread($socket, $got, $n - length $got, length $got) or die "the daemon has left\n" }
    $got;
}
sub reply($wanted, $id = undef) {
    my $n = unpack 'N', fill(4);
    $in = $n <= 64 << 20 ? fill($n) : die "reply is too long\n";
    my $variant = u32();
    if ($variant == 2) {    # Error, which may stand in place of any reply
        my (undef, $code, $fault, $retry, undef, $text) = (option(\&u64), string(), u32(), bool(), option(\&u32), string());
        say join ' ', 'error', $code, (qw(caller daemon operator))[$fault] // $fault, $retry ? 'yes' : 'no', $text;
        exit 1;
    }
    die "reply $variant instead of $wanted\n" if $variant != $wanted || (defined $id && u64() != $id);
}

send_message(pack 'L< S< S< Q</a* Q<', 0, 1, 1, 'perl-client/1', 0);    # Hello: version 1 only
reply(0);
u16(); string(); u32(); u32(); u64(); u32(); u32(); end();              # Welcome: version, name, limits

# Predict: id 1, no target, explain 1 (values), the daemon's deadline, interactive, no language, no trace.
send_message(pack 'L< Q< Q</a* L< C L< L< L< C C Q<', 1, 1, $picture, $top_k // 0, 0, 1, 0, 0, 0, 0, 0);
reply(1, 1);
say join ' ', 'model', string(), string(), string();
list(sub { say sprintf '%d %s %3$.6f', u32(), string(), (string(), f32())[1] });
option(\&u32);
option(sub {
    my ($height, $width, @v) = (u32(), u32(), list(\&f32));
    @v && @v == $width * $height or die "heatmap does not fit its size\n";
    my ($hottest) = sort { $v[$b] <=> $v[$a] || $a <=> $b } 0 .. $#v;
    say "heatmap ${width}x$height\nhottest ", $hottest % $width, ' ', int $hottest / $width;
});
option(sub { u32(); u32(); u32(); string() });    # overlay: not asked for
u32() for 1 .. 5;                                 # timings
my $notice = end()->{notice};
say "notice $notice" if defined $notice;

send_message(pack 'L< Q< Q<', 2, 2, 0);    # Health: id 2
reply(3, 2);
my ($state, $why) = (string(), string(), end());
say "health $state";
