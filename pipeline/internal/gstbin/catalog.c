/* What is installed, as text: see mpipe_factory_info in shim.h. */
#include "shim.h"

#include <string.h>

#define FIELD "\x1f"
#define RECORD "\x1e"

static void
add_values (GString *out, GParamSpec *spec)
{
  GType t = G_PARAM_SPEC_VALUE_TYPE (spec);
  if (G_TYPE_IS_ENUM (t)) {
    GEnumClass *c = g_type_class_ref (t);
    for (guint i = 0; i < c->n_values; i++)
      g_string_append_printf (out, "%s%s", i ? "," : "", c->values[i].value_nick);
    g_type_class_unref (c);
  } else if (G_TYPE_IS_FLAGS (t)) {
    GFlagsClass *c = g_type_class_ref (t);
    for (guint i = 0; i < c->n_values; i++)
      g_string_append_printf (out, "%s%s", i ? "," : "", c->values[i].value_nick);
    g_type_class_unref (c);
  }
}

static void
add_bounds (GString *out, GParamSpec *spec)
{
  if (G_IS_PARAM_SPEC_INT (spec))
    g_string_append_printf (out, "%d" FIELD "%d", G_PARAM_SPEC_INT (spec)->minimum, G_PARAM_SPEC_INT (spec)->maximum);
  else if (G_IS_PARAM_SPEC_UINT (spec))
    g_string_append_printf (out, "%u" FIELD "%u", G_PARAM_SPEC_UINT (spec)->minimum, G_PARAM_SPEC_UINT (spec)->maximum);
  else if (G_IS_PARAM_SPEC_INT64 (spec))
    g_string_append_printf (out, "%" G_GINT64_FORMAT FIELD "%" G_GINT64_FORMAT, G_PARAM_SPEC_INT64 (spec)->minimum, G_PARAM_SPEC_INT64 (spec)->maximum);
  else if (G_IS_PARAM_SPEC_UINT64 (spec))
    g_string_append_printf (out, "%" G_GUINT64_FORMAT FIELD "%" G_GUINT64_FORMAT, G_PARAM_SPEC_UINT64 (spec)->minimum, G_PARAM_SPEC_UINT64 (spec)->maximum);
  else if (G_IS_PARAM_SPEC_FLOAT (spec))
    g_string_append_printf (out, "%g" FIELD "%g", G_PARAM_SPEC_FLOAT (spec)->minimum, G_PARAM_SPEC_FLOAT (spec)->maximum);
  else if (G_IS_PARAM_SPEC_DOUBLE (spec))
    g_string_append_printf (out, "%g" FIELD "%g", G_PARAM_SPEC_DOUBLE (spec)->minimum, G_PARAM_SPEC_DOUBLE (spec)->maximum);
  else
    g_string_append (out, FIELD);
}

static void
add_property (GString *out, const char *what, GParamSpec *spec)
{
  /* Boxed values and objects have no default worth reading, and GStreamer
   * complains when asked to write an empty one. */
  GType t = G_PARAM_SPEC_VALUE_TYPE (spec);
  gboolean plain = !g_type_is_a (t, G_TYPE_BOXED) && !g_type_is_a (t, G_TYPE_OBJECT) && !g_type_is_a (t, G_TYPE_POINTER);
  gchar *def = plain ? gst_value_serialize (g_param_spec_get_default_value (spec)) : NULL;
  g_string_append_printf (out, "%s" FIELD "%s" FIELD "%s" FIELD "%s" FIELD "%s" FIELD "%d" FIELD,
      what, spec->name, g_type_name (G_PARAM_SPEC_VALUE_TYPE (spec)), g_param_spec_get_blurb (spec) ? g_param_spec_get_blurb (spec) : "",
      def ? def : "", (spec->flags & G_PARAM_WRITABLE) && !(spec->flags & G_PARAM_CONSTRUCT_ONLY));
  g_free (def);
  add_values (out, spec);
  g_string_append (out, FIELD);
  add_bounds (out, spec);
  g_string_append (out, RECORD);
}

static void
add_properties (GString *out, const char *what, GObjectClass *klass)
{
  guint n;
  GParamSpec **specs = g_object_class_list_properties (klass, &n);
  for (guint i = 0; i < n; i++)
    add_property (out, what, specs[i]);
  g_free (specs);
}

/* The pads of a template may be of a class of their own, which only the element's
 * class knows. */
static void
add_pad_properties (GString *out, GObjectClass *klass, GstStaticPadTemplate *t)
{
  GstPadTemplate *known = gst_element_class_get_pad_template (GST_ELEMENT_CLASS (klass), t->name_template);
  GType type = known ? GST_PAD_TEMPLATE_GTYPE (known) : G_TYPE_NONE;
  if (type == G_TYPE_NONE || type == GST_TYPE_PAD || !g_type_is_a (type, GST_TYPE_PAD))
    return;
  GObjectClass *pad = g_type_class_ref (type);
  add_properties (out, "padprop", pad);
  g_type_class_unref (pad);
}

static void
add_template (GString *out, GstStaticPadTemplate *t)
{
  static const char *presence[] = { "always", "sometimes", "request" };
  g_string_append_printf (out, "pad" FIELD "%s" FIELD "%d" FIELD "%s", t->name_template, t->direction == GST_PAD_SRC, presence[t->presence]);
  GstCaps *caps = gst_static_pad_template_get_caps (t);
  if (gst_caps_is_any (caps)) {
    g_string_append (out, FIELD "ANY");
  } else {
    for (guint i = 0; i < gst_caps_get_size (caps); i++) {
      gchar *s = gst_structure_to_string (gst_caps_get_structure (caps, i));
      gsize n = strlen (s); /* it ends in a semicolon */
      g_string_append (out, FIELD);
      g_string_append_len (out, s, n > 0 && s[n - 1] == ';' ? (gssize) n - 1 : (gssize) n);
      g_free (s);
    }
  }
  gst_caps_unref (caps);
  g_string_append (out, RECORD);
}

char *
mpipe_factory_info (const char *name)
{
  GstElementFactory *found = gst_element_factory_find (name);
  if (!found)
    return NULL;
  GstPluginFeature *loaded = gst_plugin_feature_load (GST_PLUGIN_FEATURE (found));
  gst_object_unref (found);
  if (!loaded)
    return NULL;
  GstElementFactory *f = GST_ELEMENT_FACTORY (loaded);
  GString *out = g_string_new (NULL);
  const gchar *plugin = gst_plugin_feature_get_plugin_name (loaded);
  g_string_append_printf (out, "factory" FIELD "%s" FIELD "%s" FIELD "%s" RECORD,
      gst_element_factory_get_metadata (f, GST_ELEMENT_METADATA_LONGNAME),
      gst_element_factory_get_metadata (f, GST_ELEMENT_METADATA_KLASS), plugin ? plugin : "");
  GObjectClass *klass = g_type_class_ref (gst_element_factory_get_element_type (f));
  for (const GList *l = gst_element_factory_get_static_pad_templates (f); l; l = l->next) {
    add_template (out, l->data);
    add_pad_properties (out, klass, l->data);
  }
  add_properties (out, "prop", klass);
  g_type_class_unref (klass);
  gst_object_unref (loaded);
  return g_string_free (out, FALSE);
}

char *
mpipe_factory_names (void)
{
  GString *out = g_string_new (NULL);
  GList *all = gst_registry_get_feature_list (gst_registry_get (), GST_TYPE_ELEMENT_FACTORY);
  for (GList *l = all; l; l = l->next)
    g_string_append_printf (out, "%s" RECORD, gst_plugin_feature_get_name (l->data));
  gst_plugin_feature_list_free (all);
  return g_string_free (out, FALSE);
}
