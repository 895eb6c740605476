#include "data/clean/pii.h"

#include <gtest/gtest.h>

#include <string>

namespace choir {
namespace {

PiiConfig All() {
  PiiConfig config;
  config.email = config.ip = config.phone = true;
  return config;
}

std::string Masked(std::string text) {
  MaskPii(All(), text);
  std::string again = text;
  const PiiCounts counts = MaskPii(All(), again);
  EXPECT_EQ(again, text);
  EXPECT_EQ(counts.emails + counts.ips + counts.phones, 0);
  return text;
}

TEST(PiiTest, Emails) {
  EXPECT_EQ(Masked("Mail an <anna.maria+x@sub.example.de>, bitte."), "Mail an <<EMAIL>>, bitte.");
  EXPECT_EQ(Masked("联系a@b.com。"), "联系<EMAIL>。");
  EXPECT_EQ(Masked("x@example.org."), "<EMAIL>.");
  EXPECT_EQ(Masked("'o'brien@example.ie'"), "'<EMAIL>'");
  for (const std::string none : {"@user", "a@b", "a@b.c", "foo@", "a@@b.com", "a..b@c.de",
                                 "a@b..de", "git@host:path", "a@b.4", "a@.de", "5 @ 3.50"}) {
    EXPECT_EQ(Masked(none), none);
  }
}

TEST(PiiTest, AddressesThatArePublic) {
  EXPECT_EQ(Masked("ping 8.8.8.8, 93.184.216.34."), "ping <IP>, <IP>.");
  EXPECT_EQ(Masked("[2606:2800:220:1:248:1893:25c8:1946]:443"), "[<IP>]:443");
  EXPECT_EQ(Masked("über 2a00:1450::200e: gut"), "über <IP>: gut");
  for (const std::string none : {"127.0.0.1",
                                 "10.1.2.3",
                                 "192.168.0.1",
                                 "172.31.255.1",
                                 "169.254.1.1",
                                 "100.64.0.1",
                                 "192.0.2.7",
                                 "198.18.0.1",
                                 "203.0.113.9",
                                 "224.0.0.1",
                                 "255.255.255.255",
                                 "0.0.0.0",
                                 "1.2.3.4.5",
                                 "v1.2.3.4",
                                 "1.2.3.256",
                                 "01.2.3.4",
                                 "1.2.3",
                                 "::1",
                                 "fe80::1",
                                 "2001:db8::1",
                                 "12:30:45",
                                 "std::string",
                                 "a::b",
                                 "::"}) {
    EXPECT_EQ(Masked(none), none);
  }
  EXPECT_EQ(Masked("172.32.0.1"), "<IP>");
}

TEST(PiiTest, Phones) {
  EXPECT_EQ(Masked("Tel. +49 30 1234567, Fax"), "Tel. <PHONE>, Fax");
  EXPECT_EQ(Masked("+1 (212) 555-0123"), "<PHONE>");
  EXPECT_EQ(Masked("電話+81-3-1234-5678まで"), "電話<PHONE>まで");
  EXPECT_EQ(Masked("call (212) 555-0123 or 212-555-0123 or 212.555.0123"),
            "call <PHONE> or <PHONE> or <PHONE>");
  for (const std::string none : {"+1", "+1234567", "+1234567890123456", "1 + 23456789", "C++20",
                                 "2024-01-02", "112-555-0123", "212-155-0123", "212-555-01234",
                                 "9212-555-0123", "212-555-0123-5", "1234567890", "+0 12345678"}) {
    EXPECT_EQ(Masked(none), none);
  }
}

TEST(PiiTest, CountsAndConfiguredText) {
  PiiConfig config = All();
  config.email_text = "[mail]";
  std::string text = "a@b.com c@d.org 8.8.8.8 +4930123456789";
  const PiiCounts counts = MaskPii(config, text);
  EXPECT_EQ(text, "[mail] [mail] <IP> <PHONE>");
  EXPECT_EQ(counts.emails, 2);
  EXPECT_EQ(counts.ips, 1);
  EXPECT_EQ(counts.phones, 1);
}

TEST(PiiTest, OnlyWhatIsAskedFor) {
  PiiConfig config;
  std::string text = "a@b.com 8.8.8.8 +4930123456789";
  MaskPii(config, text);
  EXPECT_EQ(text, "a@b.com 8.8.8.8 +4930123456789");
  config.ip = true;
  MaskPii(config, text);
  EXPECT_EQ(text, "a@b.com <IP> +4930123456789");
}

// A mark behind a match would join the mask's last character.
TEST(PiiTest, NothingBeforeACombiningMark) { EXPECT_EQ(Masked("a@b.com\u0338"), "a@b.com\u0338"); }

TEST(PiiTest, LongRunsTakeLinearTime) {
  for (const std::string unit : {":", "@", "+", "(", "a@", "1.", "a::"}) {
    std::string text;
    while (text.size() < 1'000'000) text += unit;
    Masked(text);
  }
}

}  // namespace
}  // namespace choir
