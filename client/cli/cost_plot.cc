#include "client/cli/cost_plot.h"

#include <cairo.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/cost_output.h"
#include "client/cli/plot_scale.h"

namespace deltaserve::cli {
namespace {

// Pixels.
constexpr double kMargin = 48;
constexpr double kGap = 64;   // between the panels
constexpr double kAxis = 88;  // left of a panel, for its labels
constexpr double kPanelHeight = 520;
constexpr double kBarWidth = 84;     // at most
constexpr double kLeastBar = 26;     // its width
constexpr double kLeastGroup = 110;  // of a batch's bars
constexpr double kLeastPanel = 620;
constexpr double kTextSize = 20;
constexpr double kLeastTextSize = 14;
constexpr double kTitleSize = 30;
constexpr double kLineHeight = 1.5;  // of the size

struct Color {
  double red, green, blue;
};
constexpr Color kInk = {0.13, 0.15, 0.18};
constexpr Color kFaint = {0.42, 0.45, 0.50};
constexpr Color kGrid = {0.88, 0.89, 0.91};
constexpr Color kAdditive = {0.62, 0.65, 0.70};
// Told apart by the colour-blind, too (Okabe and Ito).
constexpr std::array<Color, 6> kColors = {{{0.00, 0.45, 0.70},
                                           {0.90, 0.62, 0.00},
                                           {0.00, 0.62, 0.45},
                                           {0.80, 0.47, 0.65},
                                           {0.34, 0.71, 0.91},
                                           {0.84, 0.37, 0.00}}};

enum class Align { kLeft, kMiddle, kRight };

class Canvas {
 public:
  Canvas(double width, double height)
      : surface_(cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(width),
                                            static_cast<int>(height)),
                 cairo_surface_destroy),
        cairo_(cairo_create(surface_.get()), cairo_destroy) {
    cairo_set_source_rgb(cairo_.get(), 1, 1, 1);
    cairo_paint(cairo_.get());
  }

  void Rectangle(double x, double y, double width, double height, const Color& color) {
    Use(color);
    cairo_rectangle(cairo_.get(), x, y, width, height);
    cairo_fill(cairo_.get());
  }

  void HorizontalLine(double x, double y, double width, const Color& color) {
    Rectangle(x, std::round(y) - 0.5, width, 1, color);
  }

  double TextWidth(const std::string& text, double size, bool bold = false) {
    SetFont(size, bold);
    cairo_text_extents_t extents;
    cairo_text_extents(cairo_.get(), text.c_str(), &extents);
    return extents.x_advance;
  }

  // `y` is the base line's.
  void Text(const std::string& text, double x, double y, double size, const Color& color,
            Align align = Align::kLeft, bool bold = false) {
    const double width = TextWidth(text, size, bold);
    if (align == Align::kMiddle) x -= width / 2;
    if (align == Align::kRight) x -= width;
    Use(color);
    cairo_move_to(cairo_.get(), x, y);
    cairo_show_text(cairo_.get(), text.c_str());
  }

  // Reads upwards; begins at `y`, in the middle of `x`.
  void TextUpwards(const std::string& text, double x, double y, double size, const Color& color) {
    SetFont(size, false);
    Use(color);
    cairo_save(cairo_.get());
    cairo_move_to(cairo_.get(), x + size / 3, y);
    cairo_rotate(cairo_.get(), -std::acos(0.0));
    cairo_show_text(cairo_.get(), text.c_str());
    cairo_restore(cairo_.get());
  }

  absl::Status Write(const std::string& path) {
    cairo_status_t status = cairo_status(cairo_.get());
    if (status == CAIRO_STATUS_SUCCESS) {
      status = cairo_surface_write_to_png(surface_.get(), path.c_str());
    }
    if (status == CAIRO_STATUS_SUCCESS) return absl::OkStatus();
    return absl::InternalError(
        absl::StrCat(path, " cannot be written: ", cairo_status_to_string(status)));
  }

 private:
  void Use(const Color& color) {
    cairo_set_source_rgb(cairo_.get(), color.red, color.green, color.blue);
  }
  void SetFont(double size, bool bold) {
    cairo_select_font_face(cairo_.get(), "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cairo_.get(), size);
  }

  const std::unique_ptr<cairo_surface_t, void (*)(cairo_surface_t*)> surface_;
  const std::unique_ptr<cairo_t, void (*)(cairo_t*)> cairo_;
};

// Additive models are grey, the others have colours.
std::vector<Color> ColorsOf(const CostReport& report) {
  std::vector<Color> colors;
  size_t next = 0;
  for (const ModelCost& model : report.models) {
    colors.push_back(model.model.residual() == "additive" ? kAdditive
                                                          : kColors[next++ % kColors.size()]);
  }
  return colors;
}

// The bars of one kind of token.
class Panel {
 public:
  Panel(Canvas& canvas, const CostReport& report, TokenCost BatchCost::*kind, double x, double y,
        double width)
      : canvas_(canvas), report_(report), kind_(kind), x_(x), y_(y), width_(width) {
    for (const ModelCost& model : report.models) {
      for (const BatchCost& batch : model.batches) {
        most_ = std::max(most_, Shown(report, batch.*kind));
      }
    }
    if (most_ <= 0) most_ = 1;
  }

  void Draw(const std::string& title) {
    canvas_.Text(title, x_, y_, kTextSize + 2, kInk, Align::kLeft, /*bold=*/true);
    DrawGrid();
    const double group_width = width_ / static_cast<double>(report_.load.batches.size());
    const double models = static_cast<double>(report_.models.size());
    const double bar = std::min(kBarWidth, group_width * 0.86 / models);
    const std::vector<Color> colors = ColorsOf(report_);
    for (size_t b = 0; b < report_.load.batches.size(); ++b) {
      const double middle = x_ + (static_cast<double>(b) + 0.5) * group_width;
      for (size_t m = 0; m < report_.models.size(); ++m) {
        const double left = middle + (static_cast<double>(m) - models / 2) * bar;
        DrawBar(report_.models[m].batches[b].*kind_, left, bar, colors[m]);
      }
      canvas_.Text(absl::StrCat("batch ", report_.load.batches[b]), middle,
                   Bottom() + 1.5 * kTextSize, kTextSize, kInk, Align::kMiddle);
    }
  }

 private:
  double Bottom() const { return y_ + kPanelHeight; }
  // A part of the height is for what stands above the bars.
  double HeightOf(double value) const { return 0.72 * (kPanelHeight - kTextSize) * value / most_; }

  void DrawGrid() {
    const double step = GridStep(most_);
    for (double value = 0; value <= most_ * (1 + 1e-9); value += step) {
      const double y = Bottom() - HeightOf(value);
      canvas_.HorizontalLine(x_, y, width_, value == 0 ? kFaint : kGrid);
      canvas_.Text(Number(value, 6), x_ - 12, y + kTextSize / 3, kTextSize, kFaint, Align::kRight);
    }
  }

  void DrawBar(const TokenCost& cost, double left, double width, const Color& color) {
    const double height = HeightOf(Shown(report_, cost));
    const double top = Bottom() - height;
    const double middle = left + width / 2;
    canvas_.Rectangle(left + 2, top, width - 4, height, color);
    const std::string value = Number(Shown(report_, cost), 3);
    const std::string ratio = cost.of_additive ? absl::StrFormat("×%.2f", *cost.of_additive) : "";
    // As large as the bar is wide, or upwards where that would be too small.
    constexpr double kSize = kTextSize - 2;
    const double natural =
        std::max(canvas_.TextWidth(value, kSize), canvas_.TextWidth(ratio, kSize));
    const double size = kSize * std::min(1.0, (width - 8) / natural);
    if (size < kLeastTextSize) {
      canvas_.TextUpwards(ratio.empty() ? value : absl::StrCat(value, "  ", ratio), middle,
                          top - 10, kSize, kInk);
      return;
    }
    canvas_.Text(value, middle, top - 10, size, kInk, Align::kMiddle);
    canvas_.Text(ratio, middle, top - 10 - kLineHeight * size, size, kFaint, Align::kMiddle);
  }

  Canvas& canvas_;
  const CostReport& report_;
  TokenCost BatchCost::*const kind_;
  const double x_, y_, width_;  // y_: the title's base line
  double most_ = 0;
};

void DrawLegend(Canvas& canvas, const CostReport& report, double x, double y) {
  const std::vector<Color> colors = ColorsOf(report);
  bool has_ratio = false;
  for (size_t i = 0; i < report.models.size(); ++i) {
    const v1::Model& model = report.models[i].model;
    std::string label = model.name();
    if (model.residual() != label) absl::StrAppend(&label, " (", model.residual(), ")");
    canvas.Rectangle(x, y - 0.75 * kTextSize, kTextSize, kTextSize, colors[i]);
    canvas.Text(label, x + 1.5 * kTextSize, y, kTextSize, kInk);
    x += 3.5 * kTextSize + canvas.TextWidth(label, kTextSize);
    has_ratio = has_ratio || !report.models[i].additive.empty();
  }
  if (has_ratio) canvas.Text("× of the additive twin", x, y, kTextSize, kFaint);
}

}  // namespace

absl::Status PlotCosts(const CostReport& report, const std::string& path) {
  const double batches = static_cast<double>(report.load.batches.size());
  const double bars = batches * static_cast<double>(report.models.size());
  const double panel = std::max({kLeastPanel, batches * kLeastGroup, bars * kLeastBar});
  const double width = 2 * (kMargin + kAxis + panel) + kGap;
  const double head = kMargin + 5.2 * kTitleSize;
  Canvas canvas(width, head + kPanelHeight + 2 * kTextSize + kMargin);
  canvas.Text(Heading(report), kMargin, kMargin + kTitleSize / 2, kTitleSize, kInk, Align::kLeft,
              /*bold=*/true);
  canvas.Text(LoadLine(report), kMargin, kMargin + 2 * kTitleSize, kTextSize, kFaint);
  DrawLegend(canvas, report, kMargin, kMargin + 3.5 * kTitleSize);
  const double left = kMargin + kAxis;
  Panel(canvas, report, &BatchCost::prompt, left, head, panel).Draw("Prompt tokens");
  Panel(canvas, report, &BatchCost::completion, left + panel + kGap + kAxis, head, panel)
      .Draw("Completion tokens");
  return canvas.Write(path);
}

}  // namespace deltaserve::cli
